// Appended to OHIF's app-config.js: what it lacks. In the mode "MONAI Label" tools to correct an outline and the list
// of segments on the left, and a button in the toolbar that submits the outline as 3D Slicer does. "Export DICOM SEG"
// does the same, in every mode: OHIF's own finds no archive, and exchanges first and last slices of a series that is
// numbered along its normal. After a run it shows the server's line about the proposal, or why there is none, and during
// a long one how far it is.

// Where the server is below a proxy: '/' or a prefix.
const ROOT = window.config.routerBasename.replace(/ohif\/$/, '');
const MODE = '@ohif/mode-monai-label';
const SHAPES = { CircleScissor: 'Circle', SphereScissor: 'Sphere', RectangleScissor: 'Rectangle' };
// Milliseconds between two looks at how far a run is; a shorter run is not worth a word.
const LOOK_EVERY = 10000;
const SEGMENTS = '@ohif/extension-cornerstone.panelModule.panelSegmentationWithTools';

window.config.extensions = [{
  id: 'diffcl',
  preRegistration({ servicesManager }) {
    const { open } = XMLHttpRequest.prototype;
    XMLHttpRequest.prototype.open = function (method, address, ...rest) {
      const { pathname, searchParams } = new URL(address, location.href);
      if (pathname.startsWith(`${ROOT}infer/`)) {
        const looks = setInterval(follow, LOOK_EVERY, servicesManager.services);
        this.addEventListener('loadend', () => {
          clearInterval(looks);
          // In a task of its own: after OHIF, which says only whether it went well.
          setTimeout(tell, 0, servicesManager.services, this, searchParams.get('image'));
        });
      }
      return open.call(this, method, address, ...rest);
    };
  },
  onModeEnter({ commandsManager, servicesManager }) {
    const commandFn = ({ segmentationId }) => submit(servicesManager.services, segmentationId);
    for (const context of ['CORNERSTONE', 'SEGMENTATION']) {
      commandsManager.registerCommand(context, 'storeSegmentation', { commandFn });
    }
  },
}];

window.config.modes = [{
  id: MODE,
  modeFactory: async given => {
    const [bundled] = await given.loadModules([MODE]);
    const mode = await bundled.modeFactory(given);
    return { ...mode, routes: mode.routes.map(withSegments), onModeEnter: enter };

    function enter(app) {
      mode.onModeEnter(app);
      const { toolbarService } = app.servicesManager.services;
      toolbarService.addButtons(buttons());
      toolbarService.createButtonSection('primary', ['SubmitLabel']);
    }
  },
}];

function withSegments(route) {
  const layoutTemplate = given => {
    const layout = route.layoutTemplate(given);
    return { ...layout, props: { ...layout.props, leftPanels: [...layout.props.leftPanels, SEGMENTS] } };
  };
  return { ...route, layoutTemplate };
}

function buttons() {
  return [
    {
      id: 'BrushTools',
      uiType: 'ohif.buttonGroup',
      props: {
        groupId: 'BrushTools',
        items: [tool('Brush', 'brush', 'Brush'), tool('Eraser', 'eraser', 'Eraser')],
      },
    },
    {
      id: 'Shapes',
      uiType: 'ohif.radioGroup',
      props: {
        label: 'Shapes',
        icon: 'icon-tool-shape',
        evaluate: { name: 'evaluate.cornerstone.segmentation', toolNames: Object.keys(SHAPES) },
        options: [choice('shape-mode', SHAPES)],
      },
    },
    {
      id: 'SubmitLabel',
      uiType: 'ohif.radioGroup',
      props: {
        icon: 'icon-upload',
        label: 'Submit label',
        tooltip: 'Submit label',
        commands: 'storeSegmentation',
        evaluate: 'evaluate.action',
      },
    },
  ];
}

function tool(id, icon, ending) {
  const [flat, round] = [`Circular${ending}`, `Sphere${ending}`];
  return {
    id,
    icon: `icon-tool-${icon}`,
    label: id,
    evaluate: { name: 'evaluate.cornerstone.segmentation', toolNames: [flat, round] },
    options: [
      {
        name: 'Radius (mm)',
        id: `${icon}-radius`,
        type: 'range',
        min: 0.5,
        max: 50,
        step: 0.5,
        value: 5,
        commands: { commandName: 'setBrushSize', commandOptions: { toolNames: [flat, round] } },
      },
      choice(`${icon}-mode`, { [flat]: 'Circle', [round]: 'Sphere' }),
    ],
  };
}

function choice(id, names) {
  const values = Object.entries(names).map(([value, label]) => ({ value, label }));
  return { name: 'Shape', type: 'radio', id, value: values[0].value, values, commands: 'setToolActiveToolbar' };
}

/** Show how far the server is with the run that it works at, which may be another's while ours waits. */
async function follow({ uiNotificationService }) {
  const answer = await fetch(`${ROOT}info/`).catch(() => undefined);
  const { inference } = answer?.ok ? await answer.json() : {};
  if (inference?.windows) {
    const { image, windows, windows_done: done, seconds_left: left, warnings } = inference;
    const time = left === null ? '' : `, about ${left < 100 ? `${left} s` : `${Math.round(left / 60)} min`} left`;
    uiNotificationService.show({
      title: 'Proposal',
      message: [`${image}: ${done} of ${windows} windows${time}.`, ...warnings].join(' '),
      type: 'info',
      duration: LOOK_EVERY,
    });
  }
}

/** Show what the server says of its answer to a run. */
async function tell({ uiNotificationService }, { status, response }, series) {
  const done = status === 200;
  const answer = done ? await fetch(`${ROOT}datastore/image/info?image=${series}`) : new Response(response);
  const told = await answer.json();
  uiNotificationService.show({
    title: 'Proposal',
    message: done ? told.proposal.summary : String(told.detail),
    type: done ? 'info' : 'error',
    duration: 20000,
  });
}

/** Send an outline of the active viewport, its active one by default, to the server, and show the answer. */
async function submit(services, segmentationId) {
  const { segmentationService, viewportGridService, displaySetService, uiNotificationService } = services;
  const say = (type, message) => uiNotificationService.show({ title: 'Submit label', message, type, duration: 8000 });
  const viewport = viewportGridService.getState().activeViewportId;
  const active = segmentationId ?? segmentationService.getActiveSegmentation(viewport)?.segmentationId;
  const volume = active && segmentationService.getLabelmapVolume(active);
  if (!volume) {
    say('error', 'There is no outline of a volume here. Run a model in the mode MONAI Label.');
    return;
  }
  const shown = viewportGridService.getDisplaySetsUIDsForViewport(viewport);
  const scan = shown.map(uid => displaySetService.getDisplaySetByUID(uid)).find(one => one.Modality !== 'SEG');
  const { segments } = segmentationService.getSegmentation(active);
  const form = new FormData();
  form.append('params', '{}');
  form.append('label', await toNrrd(volume, Object.values(segments)), 'label.seg.nrrd');
  try {
    const address = `${ROOT}datastore/label?image=${scan.SeriesInstanceUID}`;
    const answer = await fetch(address, { method: 'PUT', body: form });
    const told = await answer.json();
    if (answer.ok) {
      say('success', [`Label ${told.version} is stored.`, told.summary, told.remark].filter(Boolean).join(' '));
    } else {
      say('error', String(told.detail));
    }
  } catch {
    say('error', 'The server does not answer. Nothing is stored.');
  }
}

/** A labelmap with the names of its segments, as 3D Slicer writes them. */
async function toNrrd(volume, segments) {
  const { dimensions, spacing, origin, direction, voxelManager } = volume;
  const axes = [0, 1, 2].map(i => `(${[0, 1, 2].map(k => direction[3 * i + k] * spacing[i])})`);
  const names = segments.filter(Boolean).flatMap(({ segmentIndex, label }, i) => [
    `Segment${i}_Name:=${label}`,
    `Segment${i}_LabelValue:=${segmentIndex}`,
  ]);
  const header = [
    'NRRD0004',
    'type: uint8',
    'dimension: 3',
    'space: left-posterior-superior',
    `sizes: ${dimensions.join(' ')}`,
    `space directions: ${axes.join(' ')}`,
    `space origin: (${[...origin]})`,
    'encoding: gzip',
    ...names,
  ];
  const values = new Blob([Uint8Array.from(voxelManager.getCompleteScalarDataArray())]);
  const packed = await new Response(values.stream().pipeThrough(new CompressionStream('gzip'))).blob();
  return new Blob([header.join('\n'), '\n\n', packed]);
}

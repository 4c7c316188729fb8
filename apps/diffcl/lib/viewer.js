// Appended to OHIF's app-config.js: what the mode "MONAI Label" lacks. Tools to correct an outline and the list of
// segments on the left, "Export DICOM SEG" that finds the archive, and in the toolbar a button that submits the
// outline as 3D Slicer does.

const MODE = '@ohif/mode-monai-label';
const SEGMENTS = '@ohif/extension-cornerstone.panelModule.panelSegmentationWithTools';

window.config.modes = [{
  id: MODE,
  modeFactory: async given => {
    const [bundled] = await given.loadModules([MODE]);
    const mode = await bundled.modeFactory(given);
    return { ...mode, routes: mode.routes.map(withSegments), onModeEnter: enter };

    function enter(app) {
      mode.onModeEnter(app);
      const { toolbarService } = app.servicesManager.services;
      const [dataSource] = app.extensionManager.getActiveDataSource();
      app.commandsManager.getCommand('storeSegmentation').options = { dataSource };
      app.commandsManager.registerCommand('DEFAULT', 'submitLabel', {
        commandFn: () => submit(app.servicesManager.services),
      });
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
        evaluate: { name: 'evaluate.cornerstone.segmentation', toolNames: ['CircleScissor', 'SphereScissor', 'RectangleScissor'] },
        options: [choice('shape-mode', { CircleScissor: 'Circle', SphereScissor: 'Sphere', RectangleScissor: 'Rectangle' })],
      },
    },
    {
      id: 'SubmitLabel',
      uiType: 'ohif.radioGroup',
      props: {
        icon: 'icon-upload',
        label: 'Submit label',
        tooltip: 'Submit label',
        commands: 'submitLabel',
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

/** Send the active outline of the active viewport to the server, and show its answer. */
async function submit({ segmentationService, viewportGridService, displaySetService, uiNotificationService }) {
  const say = (type, message) => uiNotificationService.show({ title: 'Submit label', message, type, duration: 8000 });
  const viewport = viewportGridService.getState().activeViewportId;
  const outline = segmentationService.getActiveSegmentation(viewport);
  const volume = outline && segmentationService.getLabelmapVolume(outline.segmentationId);
  if (!volume) {
    say('error', 'There is no outline to submit. Run a model, or draw one.');
    return;
  }
  const shown = viewportGridService.getDisplaySetsUIDsForViewport(viewport).map(uid => displaySetService.getDisplaySetByUID(uid));
  const scan = shown.find(one => one.Modality !== 'SEG');
  const form = new FormData();
  form.append('params', '{}');
  form.append('label', await toNrrd(volume, Object.values(outline.segments)), 'label.seg.nrrd');
  try {
    const address = `/datastore/label?image=${scan.SeriesInstanceUID}`;
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

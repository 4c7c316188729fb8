"""nnU-Net's own predictor, imported from wherever PYTHONPATH says, with a plain network of random weights.

Benchmarks time it beside ours: on the same grid, in windows of the same size, with as many weights as CS and DS have.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import SimpleITK as sitk
import torch

from diffcl.models import Model

if TYPE_CHECKING:
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

Segment: TypeAlias = Callable[[sitk.Image], sitk.Image]
"""From a scan to its label, on the scan's grid."""


def nnunet_predictor(model: Model, *, mirroring: bool, grid: float | None = None) -> Segment:
    """nnU-Net's predictor with the classes and the window of a model.

    Args:
        model: Ours.
        mirroring: Whether every window is predicted once more for each way in which it can be mirrored.
        grid: Millimetres between the voxels that the network sees; as in the model by default.
    """
    predictor = _initialised(model, mirroring, grid)

    def segment(scan: sitk.Image) -> sitk.Image:
        """As nnU-Net's reader gives it, without a file between."""
        properties = {"spacing": scan.GetSpacing()[::-1]}
        values = sitk.GetArrayFromImage(scan)[None].astype(np.float32)
        found = predictor.predict_single_npy_array(
            values, properties, None, None, save_or_return_probabilities=False
        )
        label = sitk.GetImageFromArray(found.astype(np.uint8))
        label.CopyInformation(scan)
        return label

    return segment


def _initialised(model: Model, mirroring: bool, grid: float | None) -> nnUNetPredictor:
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    recipe = model.info.recipe
    weights = sum(one.numel() for network in (model.cs, model.ds) for one in network.parameters())
    spacing = recipe.grid.spacing[::-1] if grid is None else (grid,) * 3
    plans = _plans(spacing, recipe.grid.window[::-1], weights, recipe.classes)
    names = {"background": 0, **{entry.name: entry.value for entry in recipe.labels}}
    dataset = {"channel_names": {"0": recipe.modality}, "labels": names, "file_ending": ".nii.gz"}
    predictor = nnUNetPredictor(
        tile_step_size=0.5,
        use_gaussian=True,
        use_mirroring=mirroring,
        perform_everything_on_device=False,
        device=torch.device("cpu"),
        allow_tqdm=False,
    )
    manager = PlansManager(plans)
    configuration = manager.get_configuration("3d_fullres")
    network = _network(configuration.network_arch_init_kwargs, recipe.classes)
    predictor.manual_initialization(
        network, manager, configuration, [network.state_dict()], dataset, "nnUNetTrainer", (0, 1, 2)
    )
    return predictor


def _network(arguments: dict[str, Any], classes: int) -> torch.nn.Module:
    """The network that plans describe."""
    from dynamic_network_architectures.architectures.unet import PlainConvUNet

    return PlainConvUNet(
        input_channels=1,
        num_classes=classes,
        **{
            **arguments,
            "conv_op": torch.nn.Conv3d,
            "norm_op": torch.nn.InstanceNorm3d,
            "nonlin": torch.nn.LeakyReLU,
        },
    )


def _plans(spacing: tuple[float, ...], patch: tuple[int, ...], weights: int, classes: int) -> dict[str, Any]:
    """Plans of a 3d_fullres configuration on the model's grid and window, as wide as gives that many weights.

    Four stages of two convolutions each way, widths that double: the layout that nnU-Net plans for such patches.
    """

    def arguments(width: int) -> dict[str, Any]:
        return {
            "n_stages": 4,
            "features_per_stage": [width * factor for factor in (1, 2, 4, 8)],
            "conv_op": "torch.nn.modules.conv.Conv3d",
            "kernel_sizes": [[3, 3, 3]] * 4,
            "strides": [[1, 1, 1], *[[2, 2, 2]] * 3],
            "n_conv_per_stage": [2] * 4,
            "n_conv_per_stage_decoder": [2] * 3,
            "conv_bias": True,
            "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
            "norm_op_kwargs": {"eps": 1e-05, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        }

    def excess(width: int) -> int:
        with torch.device("meta"):
            network = _network(arguments(width), classes)
        return abs(sum(one.numel() for one in network.parameters()) - weights)

    resample = "resample_data_or_seg_to_shape"
    order = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
    return {
        "dataset_name": "benchmark",
        "plans_name": "nnUNetPlans",
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "foreground_intensity_properties_per_channel": {"0": {}},
        "configurations": {
            "3d_fullres": {
                "data_identifier": "nnUNetPlans_3d_fullres",
                "preprocessor_name": "DefaultPreprocessor",
                "batch_size": 2,
                "patch_size": list(patch),
                "spacing": list(spacing),
                "normalization_schemes": ["ZScoreNormalization"],
                "use_mask_for_norm": [False],
                "resampling_fn_data": resample,
                "resampling_fn_data_kwargs": order,
                "resampling_fn_seg": resample,
                "resampling_fn_seg_kwargs": {**order, "is_seg": True, "order": 1},
                "resampling_fn_probabilities": resample,
                "resampling_fn_probabilities_kwargs": {**order, "order": 1},
                "architecture": {
                    "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
                    "arch_kwargs": arguments(min(range(4, 65), key=excess)),
                    "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
                },
            }
        },
    }

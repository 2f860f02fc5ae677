"""The four networks with Hugging Face's ``save_pretrained``, ``from_pretrained`` and ``push_to_hub``.

A folder holds ``config.json``, the network's keyword arguments, and ``model.safetensors``, its weights with the labels
of its outputs. No other file is read, no pickle in particular, and a local folder needs no internet access.

    network = HubCEDNN(num_aus=8)
    network.save_pretrained("folder")
    network = HubCEDNN.from_pretrained("folder")
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Self

import safetensors
import torch
from huggingface_hub import PyTorchModelHubMixin, hf_hub_download
from huggingface_hub.errors import EntryNotFoundError
from torch import nn

from attnzoo.files import write_atomically
from reference_models.data.labels import Labels
from reference_models.label_order import KEY
from reference_models.networks.cednn import CEDNN
from reference_models.networks.dba_net import DBANet
from reference_models.networks.lla_net import LLANet
from reference_models.networks.tra_net import TRANet
from reference_models.weights import load_weights, read_weights, save_weights

WEIGHTS = "model.safetensors"
_DOWNLOADING = ("revision", "cache_dir", "force_download", "local_files_only", "token")


class OnHub(PyTorchModelHubMixin, nn.Module, library_name="attnzoo", tags=["attnzoo", "face", "attention"]):
    """Mixin that adds saving and loading to the four networks.

    Attributes:
        labels: The label of each output, in order; None if unknown.
    """

    labels: Labels | None = None

    def _save_pretrained(self, save_directory: Path) -> None:
        """Write weights and options; the mixin would sort the options, but the order of TRA-Net's groups matters."""
        metadata = {"format": "pt"} | ({} if self.labels is None else {KEY: self.labels.as_json()})
        save_weights(self, save_directory / WEIGHTS, metadata)
        options = json.dumps(self._hub_mixin_config, indent=1) + "\n"
        write_atomically(save_directory / "config.json", options.encode())

    @classmethod
    def _from_pretrained(cls, *, model_id: str, map_location: str = "cpu", strict: bool = True, **options: Any) -> Self:
        """Build the network from its options and load all of its weights.

        Raises:
            ValueError: If there is no safetensors file, or it is damaged or does not fit.
        """
        del strict  # all weights must always fit
        place = {name: options.pop(name) for name in _DOWNLOADING if name in options}
        path = _weights_file(model_id, place)
        weights = read_weights(path)
        with safetensors.safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
        if "pretrained" in cls._hub_mixin_init_parameters:
            options["pretrained"] = False  # the loaded weights would replace the pretrained ones
        kwargs = {name: value for name, value in options.items() if name in cls._hub_mixin_init_parameters}
        network = cls(**kwargs)
        network.to(dtype=next(value.dtype for value in weights.values() if value.is_floating_point()))
        load_weights(network, weights)
        if KEY in metadata:
            network.labels = Labels.from_json(metadata[KEY])
        return network.to(torch.device(map_location)).eval()


class HubCEDNN(OnHub, CEDNN):
    """:class:`reference_models.CEDNN` that can be saved as a folder and loaded from one, or from the Hub."""


class HubDBANet(OnHub, DBANet):
    """:class:`reference_models.DBANet` that can be saved as a folder and loaded from one, or from the Hub."""


class HubLLANet(OnHub, LLANet):
    """:class:`reference_models.LLANet` that can be saved as a folder and loaded from one, or from the Hub."""


class HubTRANet(OnHub, TRANet):
    """:class:`reference_models.TRANet` that can be saved as a folder and loaded from one, or from the Hub."""


HUB_CLASSES: dict[str, type[OnHub]] = {
    "cednn": HubCEDNN, "dba_net": HubDBANet, "lla_net": HubLLANet, "tra_net": HubTRANet
}  # fmt: skip
"""Name of a network to its class with saving and loading."""


def from_trained(path: str | Path) -> OnHub:
    """Return a network trained by ``reference-models train`` as one of :data:`HUB_CLASSES`, with its labels.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, or was not written by training.
    """
    from reference_models.training.networks import arguments
    from reference_models.training.trained import read_model

    trained = read_model(path)
    recipe = trained.recipe
    network = HUB_CLASSES[recipe.network](**arguments(recipe))
    network.load_state_dict(trained.network.state_dict())
    network.labels = recipe.labels
    return network.eval()


def _weights_file(model_id: str, place: dict[str, Any]) -> Path:
    if Path(model_id).is_dir():
        path = Path(model_id, WEIGHTS)
        if not path.is_file():
            raise ValueError(f"{model_id} holds no {WEIGHTS}; a pickle can run code and is not read")
        return path
    try:
        return Path(hf_hub_download(repo_id=model_id, filename=WEIGHTS, **place))
    except EntryNotFoundError as error:
        raise ValueError(f"{model_id} holds no {WEIGHTS}; a pickle can run code and is not read") from error

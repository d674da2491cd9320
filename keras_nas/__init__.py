"""From a data set, a device and limits to a measured TFLite network.

What `python -m keras_nas` does, as plain functions on plain objects. A name is imported when it is
first used, so `import keras_nas` takes milliseconds and no TensorFlow.
"""

import importlib

_HOME = {
    # what can be chosen
    "SearchSpace": "keras_nas.space",
    "SINGLE_PATH": "keras_nas.space",
    "SINGLE_PATH_SE": "keras_nas.space",
    "HARDCORE_NAS": "keras_nas.space",
    "HARDCORE_NAS_TABLE_3": "keras_nas.space",
    "TFNASSpace": "keras_nas.space",
    "TF_NAS": "keras_nas.space",
    "TF_NAS_WITHOUT_SE": "keras_nas.space",
    "Architecture": "keras_nas.space",
    "published": "keras_nas.space.published",
    "published_network": "keras_nas.space.published",
    "published_networks": "keras_nas.space.published",
    "PublishedNetwork": "keras_nas.space.published",
    # what it costs
    "macs": "keras_nas.resources",
    "parameters": "keras_nas.resources",
    "LatencyTable": "keras_nas.resources",
    "WidthLatency": "keras_nas.resources",
    "RuntimeModel": "keras_nas.resources",
    "pixel1_runtime": "keras_nas.resources",
    "HostDevice": "keras_nas.devices",
    "AndroidDevice": "keras_nas.devices",
    "KerasDevice": "keras_nas.devices",
    "device_from_name": "keras_nas.devices",
    "build_latency_table": "keras_nas.devices.profile",
    "limited_resources": "keras_nas.experiment",
    "staged_costs": "keras_nas.experiment",
    # networks
    "build_network": "keras_nas.models",
    "Supernet": "keras_nas.models",
    "SinglePathSupernet": "keras_nas.models.single_path_supernet",
    "TFNASSupernet": "keras_nas.models.tf_nas_supernet",
    "import_weights": "keras_nas.models.import_weights",
    "read_state_dict": "keras_nas.models.state_dict",
    # settings and images
    "Config": "keras_nas.config",
    "DataConfig": "keras_nas.config",
    "DeviceConfig": "keras_nas.config",
    "LimitsConfig": "keras_nas.config",
    "RecipeConfig": "keras_nas.config",
    "SearchConfig": "keras_nas.config",
    "SpaceConfig": "keras_nas.config",
    "TFNASConfig": "keras_nas.config",
    "SinglePathConfig": "keras_nas.config",
    "load_space": "keras_nas.experiment",
    "load_examples": "keras_nas.data.examples",
    # training and search
    "Runtime": "keras_nas.methods.runtime",
    "pretrain": "keras_nas.methods.hardcore_nas",
    "train_supernet": "keras_nas.methods.hardcore_nas",
    "search": "keras_nas.methods.frank_wolfe_search",
    "search_several": "keras_nas.methods.frank_wolfe_search",
    "one_shot_accuracy": "keras_nas.methods.one_shot_accuracy",
    "random_search": "keras_nas.methods.random_search",
    "evolution": "keras_nas.methods.evolution",
    "project_search": "keras_nas.search_record",
    "search_tf_nas": "keras_nas.methods.tf_nas",
    "scale_network": "keras_nas.methods.width_scaling",
    "configuration_accuracy": "keras_nas.methods.one_shot_accuracy",
    "found_networks": "keras_nas.methods.single_path_projection",
    "DecidedSupernet": "keras_nas.models.decided_supernet",
    "final_network": "keras_nas.methods.hardcore_nas",
    "accuracy": "keras_nas.methods.classification",
    # export and measurement
    "convert": "keras_nas.export",
    "check_operations": "keras_nas.export",
    "check_outputs": "keras_nas.export",
    "measure_network": "keras_nas.devices",
    "reference_model": "keras_nas.devices.profile",
    # all of it
    "run": "keras_nas.pipeline",
}

_PACKAGES = ("data", "devices", "export", "methods", "models", "resources", "solvers", "space")

__all__ = sorted(_HOME)


def __getattr__(name: str) -> object:
    if name in _PACKAGES:
        return importlib.import_module(f"keras_nas.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'keras_nas' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME, *_PACKAGES})

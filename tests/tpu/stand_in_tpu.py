"""A real TPUStrategy whose cores are CPUs. Nothing that it runs can run: no TPU compiles it."""

import collections

import numpy as np
import tensorflow as tf
from tensorflow.python.tpu.tpu_system_metadata import TPUSystemMetadata


def stand_in_strategy(job, hosts, cores):
    """On the logical CPUs of a job's tasks: so many hosts, each with so many cores."""
    # A core's place: row of the mesh is its host.
    coordinates = np.array([[[host, 0, 0, core] for core in range(cores)] for host in range(hosts)])
    topology = tf.tpu.experimental.Topology(
        mesh_shape=[hosts, 1, 1, cores], device_coordinates=coordinates
    )

    def device(host, kind, core):
        return f"/job:{job}/replica:0/task:{host}/device:{kind}:{core}"

    class Assignment(tf.tpu.experimental.DeviceAssignment):
        """Core i of a host is its logical CPU i."""

        def tpu_device(self, replica=0, logical_core=0, job=None):
            host = int(self.core_assignment[replica, logical_core, 0])
            return device(host, "CPU", self.tpu_ordinal(replica, logical_core))

    class Resolver(tf.distribute.cluster_resolver.TPUClusterResolver):
        """Finds a TPU without asking for one."""

        def get_tpu_system_metadata(self):
            Device = collections.namedtuple("Device", ("name", "device_type"))
            devices = [
                Device(device(host, "TPU", core), "TPU")
                for host in range(hosts)
                for core in range(cores)
            ]
            return TPUSystemMetadata(hosts * cores, hosts, cores, topology, devices)

    tf.config.set_soft_device_placement(True)
    assignment = Assignment(topology, coordinates.reshape(hosts * cores, 1, 4))
    return tf.distribute.TPUStrategy(
        Resolver(tpu="local"), experimental_device_assignment=assignment
    )

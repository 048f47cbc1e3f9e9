"""Keys of a Compute Engine instance, as far as a `node_config` of Ray's uses them.

From the reference of `instances.insert` in the Compute Engine API v1, 2025.
"""

from serve_app.check.file.keys import KeyTree

_DISK: KeyTree = {
    "autoDelete": None, "boot": None, "deviceName": None, "diskEncryptionKey": None,
    "diskSizeGb": None, "guestOsFeatures": None, "index": None, "interface": None, "kind": None,
    "initializeParams": {
        "architecture": None, "description": None, "diskName": None, "diskSizeGb": None,
        "diskType": None, "labels": None, "onUpdateAction": None, "provisionedIops": None,
        "provisionedThroughput": None, "sourceImage": None, "sourceSnapshot": None,
        "storagePool": None,
    },
    "mode": None, "source": None, "type": None,
}  # fmt: skip
_SCHEDULING: KeyTree = {
    "automaticRestart": None, "instanceTerminationAction": None, "maxRunDuration": None,
    "minNodeCpus": None, "nodeAffinities": None, "onHostMaintenance": None,
    "onInstanceStopAction": None, "preemptible": None, "provisioningModel": None,
    "terminationTime": None,
}  # fmt: skip

NODE_CONFIG_KEYS: KeyTree = {
    "advancedMachineFeatures": None, "canIpForward": None, "confidentialInstanceConfig": None,
    "deletionProtection": None, "description": None, "disks": _DISK, "displayDevice": None,
    "guestAccelerators": {"acceleratorCount": None, "acceleratorType": None}, "hostname": None,
    "labels": None, "machineType": None,
    "metadata": {"items": {"key": None, "value": None}, "fingerprint": None, "kind": None},
    "minCpuPlatform": None, "name": None, "networkInterfaces": None,
    "networkPerformanceConfig": None, "params": None, "privateIpv6GoogleAccess": None,
    "reservationAffinity": None, "resourcePolicies": None, "scheduling": _SCHEDULING,
    "serviceAccounts": {"email": None, "scopes": None}, "shieldedInstanceConfig": None,
    "sourceMachineImage": None, "tags": {"fingerprint": None, "items": None},
    # Ray's own, for TPU pods.
    "acceleratorType": None, "acceleratorConfig": None, "runtimeVersion": None,
    "networkConfig": None, "schedulingConfig": None, "serviceAccount": None,
}  # fmt: skip

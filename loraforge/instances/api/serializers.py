"""Plain data of instances and nodes, as the API and the live pages show it."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from loraforge.instances.models import Instance
from loraforge.instances.preparing import Stage
from loraforge.instances.selectors import Holder
from loraforge.nodes.models import Device, Node


class InstanceSerializer(serializers.ModelSerializer[Instance]):
    """An instance in lists and alone."""

    owner = serializers.CharField(source="owner.username", read_only=True)
    node = serializers.CharField(source="node.name", read_only=True, allow_null=True, default=None)
    wanted_node = serializers.CharField(
        source="wanted_node.name", read_only=True, allow_null=True, default=None
    )
    progress = serializers.IntegerField(read_only=True, help_text="whole percent, 0 to 100")

    class Meta:
        model = Instance
        fields = (
            "id", "kind", "name", "owner", "state", "attempt", "priority", "gpus", "processes",
            "wanted_node", "wanted_devices", "node", "wait_reason", "wait_detail", "failure_reason",
            "failure_detail", "exit_code", "saved_step", "step", "max_steps", "progress", "loss", "eta_s",
            "tags", "notes", "keep", "created_at", "queued_at", "started_at", "ended_at",
        )  # fmt: skip
        read_only_fields = fields


class StageSerializer(serializers.Serializer[Stage]):
    """A part of the way to the first training step."""

    name = serializers.ChoiceField(
        choices=[
            "queued",
            "placed",
            "image",
            "model",
            "data",
            "container",
            "imports",
            "first_step",
        ],
        read_only=True,
    )
    began_at = serializers.DateTimeField(read_only=True)
    ended_at = serializers.DateTimeField(read_only=True, allow_null=True)
    seconds = serializers.FloatField(read_only=True, allow_null=True)
    done_bytes = serializers.IntegerField(read_only=True)
    total_bytes = serializers.IntegerField(read_only=True, help_text="0 = not known")
    detail = serializers.CharField(read_only=True)
    revision = serializers.CharField(
        read_only=True, help_text="Of what came from a model hub; several by commas."
    )


class HolderSerializer(serializers.Serializer[Holder]):
    """Who holds a device; empty fields for those who may not know."""

    instance_id = serializers.IntegerField(read_only=True, allow_null=True)
    name = serializers.CharField(read_only=True, allow_null=True)
    owner = serializers.CharField(read_only=True, allow_null=True)


class MarkSerializer(serializers.Serializer[dict[str, Any]]):
    """Something that its node says of a GPU."""

    kind = serializers.CharField(read_only=True, help_text="`gpu:lost`, `gpu:foreign` and others")
    detail = serializers.CharField(read_only=True)
    blocks = serializers.BooleanField(read_only=True, help_text="no job gets it meanwhile")


class CheckSerializer(serializers.Serializer[dict[str, Any]]):
    """What a short computation on a GPU gave, in the training environment."""

    ok = serializers.BooleanField(read_only=True)
    detail = serializers.CharField(read_only=True)
    torch = serializers.CharField(read_only=True)
    tflops = serializers.FloatField(read_only=True)


class DeviceSerializer(serializers.ModelSerializer[Device]):
    """A GPU or CPU slot; the context's ``holders`` tells who has it."""

    holder = serializers.SerializerMethodField()
    busy = serializers.SerializerMethodField()
    blocked = serializers.BooleanField(
        read_only=True, help_text="its node keeps it from jobs; `marks` say why"
    )
    marks = MarkSerializer(many=True, read_only=True)
    cuda_check = serializers.SerializerMethodField()

    class Meta:
        model = Device
        fields = (
            "uuid", "kind", "index", "name", "memory_bytes", "busy", "holder", "blocked", "marks",
            "cuda_check",
        )  # fmt: skip
        read_only_fields = fields

    def _holder(self, device: Device) -> Holder | None:
        found: Holder | None = self.context["holders"].get((device.node_id, device.uuid))
        return found

    @extend_schema_field(CheckSerializer(allow_null=True))
    def get_cuda_check(self, device: Device) -> Any:
        return CheckSerializer(device.cuda_check).data if device.cuda_check else None

    def get_busy(self, device: Device) -> bool:
        return self._holder(device) is not None

    @extend_schema_field(HolderSerializer(allow_null=True))
    def get_holder(self, device: Device) -> Any:
        holder = self._holder(device)
        return HolderSerializer(holder).data if holder is not None else None


class NodeSerializer(serializers.ModelSerializer[Node]):
    """A node and its devices."""

    devices = DeviceSerializer(many=True, read_only=True)
    is_process_runtime = serializers.BooleanField(
        read_only=True, help_text="jobs run as plain processes: no boundary to the machine"
    )

    class Meta:
        model = Node
        fields = (
            "name", "state", "cordoned", "runtime", "is_process_runtime", "agent_version", "swift_version",
            "driver_version", "gpu_mode", "cpu_count", "memory_bytes", "disk_total_bytes", "disk_free_bytes",
            "disk_level", "model_roots", "seen_at", "devices",
        )  # fmt: skip
        read_only_fields = fields

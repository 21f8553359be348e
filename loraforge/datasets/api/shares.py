"""With whom a dataset is shared."""

from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from loraforge.accounts.access import Action
from loraforge.accounts.entrypoints import Endpoint, signed_in
from loraforge.accounts.sharing import HOLDER_KINDS, Holder
from loraforge.datasets import shares
from loraforge.datasets.selectors import dataset_get

NAME_MAX = 150


class DatasetShareOutput(serializers.Serializer[Holder]):
    """Whom it is shared with."""

    kind = serializers.ChoiceField(choices=HOLDER_KINDS)
    name = serializers.CharField()


class DatasetShareInput(serializers.Serializer[Any]):
    """A user, or one of one's own groups."""

    kind = serializers.ChoiceField(choices=HOLDER_KINDS)
    name = serializers.CharField(max_length=NAME_MAX)


class DatasetShares(Endpoint):
    """Who else may see its rows and train on it: people, and groups that one is in."""

    needs: ClassVar[dict[str, Action | None]] = {
        "get": None,  # `shares` asks for Action.SHARE on the row
        "post": None,
        "delete": None,
    }

    @extend_schema(responses=DatasetShareOutput(many=True))
    def get(self, request: Request, pk: int) -> Response:
        user = signed_in(request)
        dataset = dataset_get(user=user, dataset_id=pk)
        rows: Any = shares.dataset_holders(user=user, dataset=dataset)
        return Response(DatasetShareOutput(rows, many=True).data)

    @extend_schema(request=DatasetShareInput, responses={201: DatasetShareOutput})
    def post(self, request: Request, pk: int) -> Response:
        """Share all its versions, also those to come."""
        user = signed_in(request)
        dataset = dataset_get(user=user, dataset_id=pk)
        holder = self._holder(user, dataset, request.data)
        shares.dataset_share(actor=user, dataset=dataset, holder=holder)
        return Response(DatasetShareOutput(holder).data, status=status.HTTP_201_CREATED)

    @extend_schema(parameters=[DatasetShareInput], responses={204: None})
    def delete(self, request: Request, pk: int) -> Response:
        """Take a share back."""
        user = signed_in(request)
        dataset = dataset_get(user=user, dataset_id=pk)
        holder = self._holder(user, dataset, request.query_params)
        shares.dataset_unshare(actor=user, dataset=dataset, holder=holder)
        return Response(status=status.HTTP_204_NO_CONTENT)

    def _holder(self, user: Any, dataset: Any, data: Any) -> Holder:
        shares.share_require(user=user, dataset=dataset)
        given = DatasetShareInput(data=data)
        given.is_valid(raise_exception=True)
        return Holder(**given.validated_data)

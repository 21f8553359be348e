"""The API's schema, as the documentation page and programs read it."""

from drf_spectacular.views import SpectacularAPIView
from rest_framework.request import Request


class SchemaView(SpectacularAPIView):
    """There is one version of the API, so ``?version=`` is not read: its words would go into a header."""

    def _get_version_parameter(self, _request: Request) -> None:
        return None

"""How the API's documents describe tokens."""

from drf_spectacular.contrib.rest_framework_simplejwt import SimpleJWTScheme
from drf_spectacular.extensions import OpenApiAuthenticationExtension


class ApiTokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "loraforge.accounts.authentication.ApiTokenAuthentication"
    name = "apiToken"

    def get_security_definition(self, auto_schema: object) -> dict[str, str]:
        return {
            "type": "http",
            "scheme": "bearer",
            "description": "An API token, `lfp_...`, made under API tokens.",
        }


class JwtScheme(SimpleJWTScheme):  # type: ignore[no-untyped-call]
    target_class = "loraforge.accounts.authentication.JwtAuthentication"

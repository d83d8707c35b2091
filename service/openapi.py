"""The OpenAPI document: errors described as they are, problem documents."""

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute

from service.problems import MEDIA_TYPE, ProblemDocument

_REFERENCE = "#/components/schemas/ProblemDocument"


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that may answer with these error statuses."""
    return {
        status: {"description": HTTPStatus(status).phrase, "content": {MEDIA_TYPE: {"schema": {"$ref": _REFERENCE}}}}
        for status in statuses
    }


def operation_id(route: APIRoute) -> str:
    """The name of the route's function, which clients made from the document will call."""
    return route.name


def install_openapi(app: FastAPI) -> None:
    """Add the problem document to the schemas that `app` publishes."""
    made = app.openapi

    def with_problems() -> dict[str, Any]:
        document = made()
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        if "ProblemDocument" not in schemas:
            schema = ProblemDocument.model_json_schema(ref_template="#/components/schemas/{model}")
            schemas.update(schema.pop("$defs", {}))
            schemas["ProblemDocument"] = schema
            for name in ("HTTPValidationError", "ValidationError"):
                schemas.pop(name, None)
            for path in document["paths"].values():
                for operation in path.values():
                    _drop_framework_errors(operation["responses"])
        return document

    app.openapi = with_problems  # type: ignore[method-assign]


def _drop_framework_errors(responses: dict[str, Any]) -> None:
    """FastAPI adds a 422 of its own to every route with a parameter; those that can answer so say it themselves."""
    if "application/json" in responses.get("422", {}).get("content", {}):
        del responses["422"]

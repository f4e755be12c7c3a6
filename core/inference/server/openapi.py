"""The interface for machines: an OpenAPI 3.1 document made from the same models that read the requests.

Source: https://spec.openapis.org/oas/v3.1.0.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

from core.inference.openai_chat_request import ChatRequest
from core.inference.openai_reply import (
    ChatCompletion,
    ChatCompletionChunk,
    EmbeddingList,
    Error,
    Health,
    ModelCard,
    ModelList,
    TextCompletion,
)
from core.inference.openai_request import EmbeddingRequest, Request, TextRequest

VERSION = "1"
REQUESTS: tuple[type[Request], ...] = (ChatRequest, TextRequest, EmbeddingRequest)
REPLIES: tuple[type[BaseModel], ...] = (
    ChatCompletion, ChatCompletionChunk, TextCompletion, EmbeddingList, ModelList, ModelCard, Health, Error,
)  # fmt: skip
# Refusals that any question can meet, and those that only some can.
QUESTION_ERRORS = {
    "400": "The request is not valid, or longer than the context.",
    "404": "There is no such model.",
    "408": "The body did not arrive in time.",
    "413": "The body is too large.",
    "429": "Too many answers are under way or waiting; Retry-After tells when to try again.",
    "500": "The server failed.",
    "501": "This server runs without what was asked for.",
    "503": "No model is loaded, or the server is stopping.",
}
AUTH_ERRORS = {
    "401": "The key is missing or wrong.",
    "403": "The request comes from another site.",
    "421": "This address is not served here.",
}

Json = dict[str, Any]


def document(models: Sequence[str]) -> Json:
    """The document of a server with these models."""
    _, generated = models_json_schema(
        [*((model, "validation") for model in REQUESTS), *((model, "serialization") for model in REPLIES)],
        ref_template="#/components/schemas/{model}",
        schema_generator=_Schemas,
    )
    schemas: Json = generated["$defs"]
    for request in REQUESTS:
        _complete(schemas[request.__name__], request, models)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "AstrAI",
            "version": VERSION,
            "description": "OpenAI's interface to the models of this machine, and more: top_k, min_p, "
            "repetition_penalty, adapter, collections.",
        },
        "paths": _paths(),
        "components": {"schemas": schemas, "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
        "security": [{"key": []}],
    }


class _Schemas(GenerateJsonSchema):
    """Unions without `discriminator`: each branch lists its tags itself, and readers of one tag per branch err."""

    def tagged_union_schema(self, schema: core_schema.TaggedUnionSchema) -> JsonSchemaValue:
        union = super().tagged_union_schema(schema)
        union.pop("discriminator", None)
        return union


def _complete(schema: Json, request: type[Request], models: Sequence[str]) -> None:
    """Add what `Request.read` takes beside the fields: null for a field left out, and the fields it drops."""
    fields: Json = schema["properties"]
    fields["model"] = {"enum": [*models, None], "description": "The loaded model; without it that one."}
    for name in fields.keys() - set(schema.get("required", ())):
        fields[name] = _or_null(fields[name])
    fields |= {name: {"description": "Changes nothing here."} for name in sorted(request.ignored)}
    fields |= {
        name: {"enum": [*values, None], "description": "Not supported at other values."}
        for name, values in request.unsupported.items()
    }


def _or_null(schema: Json) -> Json:
    is_nullable = any(one == {"type": "null"} for one in schema.get("anyOf", ())) or None in schema.get("enum", ())
    return schema if is_nullable else {"anyOf": [schema, {"type": "null"}]}


def _paths() -> Json:
    model_name = {"name": "name", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
    return {
        "/health": {"get": {**_get("health", Health), "security": []}},
        "/metrics": {"get": _get_metrics()},
        "/v1/models": {"get": _get("listModels", ModelList)},
        "/v1/models/{name}": {
            "get": {**_get("getModel", ModelCard, {"404": QUESTION_ERRORS["404"]}), "parameters": [model_name]}
        },
        "/v1/chat/completions": {
            "post": _post("createChatCompletion", ChatRequest, ChatCompletion, ChatCompletionChunk)
        },
        "/v1/completions": {"post": _post("createCompletion", TextRequest, TextCompletion, TextCompletion)},
        "/v1/embeddings": {"post": _post("createEmbedding", EmbeddingRequest, EmbeddingList, None)},
    }


def _get(name: str, reply: type[BaseModel], errors: Mapping[str, str] | None = None) -> Json:
    answer = {"description": "The answer.", "content": {"application/json": _schema(reply)}}
    return {"operationId": name, "responses": {"200": answer, **_errors({**AUTH_ERRORS, **(errors or {})})}}


def _get_metrics() -> Json:
    answer = {"description": "Prometheus' text format.", "content": {"text/plain": {"schema": {"type": "string"}}}}
    return {"operationId": "getMetrics", "responses": {"200": answer, **_errors(AUTH_ERRORS)}}


def _post(name: str, request: type[Request], reply: type[BaseModel], chunk: type[BaseModel] | None) -> Json:
    content: Json = {"application/json": _schema(reply)}
    if chunk is not None:
        events: Json = {"type": "string", "contentMediaType": "application/json"}
        events["contentSchema"] = {"anyOf": [_schema(chunk)["schema"], _schema(Error)["schema"]]}
        content["text/event-stream"] = {
            "schema": {
                "description": "One event, where stream is true.",
                "type": "object",
                "properties": {"data": {"anyOf": [{"const": "[DONE]"}, events]}},
                "required": ["data"],
            }
        }
    return {
        "operationId": name,
        "requestBody": {"required": True, "content": {"application/json": _schema(request)}},
        "responses": {
            "200": {"description": "The answer.", "content": content},
            **_errors({**AUTH_ERRORS, **QUESTION_ERRORS}),
        },
    }


def _errors(errors: Mapping[str, str]) -> Json:
    return {
        status: {"description": text, "content": {"application/json": _schema(Error)}}
        for status, text in errors.items()
    }


def _schema(model: type[BaseModel]) -> Json:
    return {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}

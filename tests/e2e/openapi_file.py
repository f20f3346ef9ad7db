"""docs/openapi.yaml: its operations and schemas.

    openapi_file.load()                                # the whole file
    openapi_file.operations(document)                  # {("POST", "/tokenize"): {...}, ...}
    openapi_file.faults_of(document, "Tokens", reply)  # [] if the value fits the schema of that name
    openapi_file.for_model(document, "name", 320)      # a copy for one model: its name, its token ids
"""

from __future__ import annotations

import copy
import functools
import json

import harness
import jsonschema
import yaml

PATH = harness.ROOT / "docs/openapi.yaml"


def load() -> dict:
    return yaml.safe_load(PATH.read_text(encoding="utf-8"))


def operations(document: dict) -> dict[tuple[str, str], dict]:
    return {(method.upper(), path): operation
            for path, methods in document["paths"].items() for method, operation in methods.items()}


def schema_name(content: dict) -> str:
    """The name of the schema that a body or a reply of application/json refers to."""
    return content["application/json"]["schema"]["$ref"].removeprefix("#/components/schemas/")


def response_of(document: dict, operation: dict, status: int) -> dict:
    """What the operation says of this status. KeyError: nothing."""
    response = operation["responses"][str(status)]
    if "$ref" in response:
        response = document["components"]["responses"][response["$ref"].rpartition("/")[2]]
    return response


@functools.lru_cache
def _validator(components: str, name: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(
        {"$ref": f"#/components/schemas/{name}", "components": json.loads(components)})


def faults_of(document: dict, name: str, value: object) -> list[str]:
    """Where the value does not fit the schema. The best sentence of each fault, with its place."""
    validator = _validator(json.dumps(document["components"], sort_keys=True), name)
    faults = []
    for error in validator.iter_errors(value):
        error = jsonschema.exceptions.best_match([error])
        faults.append(f"{error.json_path}: {error.message}")
    return faults


def for_model(document: dict, model: str, vocab_size: int) -> dict:
    """A copy whose requests name this model and its tokens alone: else nearly all that is made from it names others."""
    document = copy.deepcopy(document)
    schemas = document["components"]["schemas"]
    schemas["TokenId"]["maximum"] = vocab_size - 1
    for schema in schemas.values():
        properties = schema.get("properties", {})
        if "description" in properties.get("model", {}):
            properties["model"] = {"enum": [model, None, ""]}
        if "logit_bias" in properties:
            properties["logit_bias"]["propertyNames"] = {"enum": [str(i) for i in range(vocab_size)]}
    for methods in document["paths"].values():
        for operation in methods.values():
            for parameter in operation.get("parameters", ()):
                if parameter["name"] == "model":
                    parameter["schema"] = {"enum": [model, "another", *([""] if parameter["in"] == "query" else [])]}
    return document

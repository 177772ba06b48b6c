"""The page of the API for people, made from its OpenAPI document: routes, parameters, and a command to try each."""

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, TypeAlias

Schema: TypeAlias = Mapping[str, Any]

EXAMPLES = {"id": "PHOTO", "name": "photo.jpg", "suffix": ".json"}
"""What the commands give for parameters."""
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title} · HTTP API</title>
<link rel="icon" href="/static/icon.svg">
<link rel="stylesheet" href="/static/reference.css">
</head>
<body>
<h1>{title} {version}: HTTP API</h1>
<p><code>PHOTO</code> is the <code>id</code> of a photo, which <code>/api/photos</code> lists. Coordinates are (x, y)
in pixels of the upright photo. A server with a token needs <code>-H 'Authorization: Bearer TOKEN'</code>.</p>
<p>An error is <code>{{"error": "one line"}}</code> with a status of 400 to 503. With 429 and 503,
<code>Retry-After</code> says after how many seconds the request may succeed.</p>
<p>For programs, <a href="/api/openapi.json">/api/openapi.json</a> says the same.</p>
{routes}
<h2>What bodies hold</h2>
{schemas}
</body>
</html>
"""


def reference_page(document: Schema, base: str) -> str:
    """The HTML page of an OpenAPI document. base: the server's address, for the commands."""
    routes = "\n".join(
        _route(method, path, route, document, base)
        for path, methods in document["paths"].items()
        for method, route in methods.items()
    )
    schemas = "\n".join(
        _schema(name, schema) for name, schema in sorted(document["components"]["schemas"].items())
    )
    info = document["info"]
    title, version = escape(info["title"]), escape(info["version"])
    return PAGE.format(title=title, version=version, routes=routes, schemas=schemas)


def _route(method: str, path: str, route: Schema, document: Schema, base: str) -> str:
    parameters = "".join(_parameter(one) for one in route.get("parameters", []))
    table = f"<table><tbody>{parameters}</tbody></table>" if parameters else ""
    body, response = _body_name(route.get("requestBody", {})), _response_name(route)
    links = [f"takes {_link(body)}" if body else "", f"gives {_link(response)}" if response else ""]
    said = ", ".join(filter(None, links))
    return f"""<section>
<h2><span class="method">{method.upper()}</span> <code>{escape(path)}</code></h2>
<p>{_text(route.get("description", ""))}{f" It {said}." if said else ""}</p>
{table}
<pre>{escape(_command(method, path, route, document, base))}</pre>
</section>"""


def _parameter(parameter: Schema) -> str:
    needed = "" if parameter.get("required") else ", optional"
    kind = f"{parameter['in']}{needed}: {_kind(parameter['schema'])}"
    return _row(parameter["name"], kind)


def _row(name: str, kind: str) -> str:
    return f"<tr><td><code>{escape(name)}</code></td><td>{kind}</td></tr>"


def _command(method: str, path: str, route: Schema, document: Schema, base: str) -> str:
    """A curl command that calls the route."""
    for name, value in EXAMPLES.items():
        path = path.replace(f"{{{name}}}", value)
    query = "&".join(
        f"{one['name']}={EXAMPLES.get(one['name'], '')}"
        for one in route.get("parameters", [])
        if one["in"] == "query"
    )
    address = f"{base.rstrip('/')}{path}{'?' if query else ''}{query}"
    words = ["curl", *([] if method == "get" else ["-X", method.upper()]), f"'{address}'"]
    content = route.get("requestBody", {}).get("content", {})
    if "application/octet-stream" in content:
        words += ["--data-binary @photo.jpg"]
    elif content:
        example = _example(content["application/json"]["schema"], document)
        words += ["-H 'Content-Type: application/json'", f"-d '{json.dumps(example)}'"]
    if _response_name(route) is None and method == "get":
        words += ["-OJ"]
    return " ".join(words)


def _example(schema: Schema, document: Schema) -> Any:
    """The example of a schema, or the empty value of its required fields."""
    if "$ref" in schema:
        return _example(document["components"]["schemas"][schema["$ref"].rpartition("/")[2]], document)
    if schema.get("examples"):
        return schema["examples"][0]
    return {name: [] for name in schema.get("required", [])}


def _schema(name: str, schema: Schema) -> str:
    needed = schema.get("required", [])
    rows = "".join(
        _row(field, _kind(one) + ("" if field in needed else ", optional"))
        for field, one in schema.get("properties", {}).items()
    )
    described = _text(schema.get("description", ""))
    return f'<section><h3 id="{name}">{name}</h3><p>{described}</p><table><tbody>{rows}</tbody></table></section>'


def _kind(schema: Schema) -> str:
    """A schema in a few words, with links to the schemas in it."""
    if "$ref" in schema:
        return _link(schema["$ref"].rpartition("/")[2])
    if "anyOf" in schema:
        return " or ".join(map(_kind, schema["anyOf"]))
    if "enum" in schema or "const" in schema:
        return " or ".join(escape(json.dumps(value)) for value in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        inner = _kind(schema["items"]) if "items" in schema else "numbers"
        return f"list of {inner}{_limits(schema)}"
    return f"{schema.get('type', 'value')}{_limits(schema)}"


def _limits(schema: Schema) -> str:
    words = {
        "minimum": "from",
        "exclusiveMinimum": "above",
        "maximum": "to",
        "minItems": "at least",
        "maxItems": "at most",
        "maxLength": "at most",
        "pattern": "like",
    }
    said = [f"{word} {schema[key]}" for key, word in words.items() if key in schema]
    return escape(f" ({', '.join(said)})" if said else "")


def _body_name(body: Schema) -> str | None:
    return next(_names(body.get("content", {})), None)


def _response_name(route: Schema) -> str | None:
    success = next(one for status, one in route["responses"].items() if status.startswith("2"))
    return next(_names(success.get("content", {})), None)


def _names(content: Schema) -> Iterator[str]:
    """The names of the schemas that bodies have."""
    for one in content.values():
        schema = one.get("schema", {})
        reference = schema.get("$ref") or schema.get("items", {}).get("$ref")
        if reference:
            yield reference.rpartition("/")[2]


def _link(name: str) -> str:
    return f'<a href="#{name}">{name}</a>'


def _text(description: str) -> str:
    """Paragraphs, with `code`."""
    parts = escape(" ".join(description.split())).split("`")
    return "".join(f"<code>{part}</code>" if i % 2 else part for i, part in enumerate(parts))

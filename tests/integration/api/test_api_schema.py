"""Schemathesis over the OpenAPI document: every answer is one the document knows, and none is a failure of the node."""

import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

# These never end; their own tests read them.
ENDLESS = {"/v1/events/stream", "/v1/observations/stream", "/v1/cameras/{name}/live"}
# Whether these take a body depends on what a schema cannot say: that bytes are a picture with a face, that data fit a
# tensor's shape, that a command is one of this device's kind, that a rule compiles, that each channel of a reading has
# a name, that there is an account to own a token, that text is SQL, that a document is one that a node can follow.
CONTENT_DECIDES = {
    "/v1/models/{name}/predict",
    "/v1/people",
    "/v1/accounts",
    "/v1/session/password",
    "/v1/tokens",
    "/v1/nodes",
    "/v1/nodes/{name}",
    "/v1/join-tokens",
    "/v1/cameras/{name}/frames",
    "/v1/cameras/{name}/webrtc",
    "/v1/devices/{name}/commands",
    "/v1/rules/test",
    "/v1/query",
    "/v1/query/export",
    "/v1/sources/{name}/readings",
    "/v1/nodes/{name}/desired",
    "/v1/labels/{label}/desired",
    "/v2/models/{name}/infer",
    "/v2/models/{name}/versions/{version}/infer",
    "/v2/repository/models/{name}/load",
}
EXAMPLES = 8


@schemathesis.serializer("application/sdp")
def as_sdp(ctx, value) -> bytes:
    """An offer is text as it is."""
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")


def failures(operation, mode: GenerationMode) -> list[str]:
    """What Schemathesis finds about one operation."""

    @given(operation.as_strategy(generation_mode=mode))
    @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    def run(case) -> None:
        case.call_and_validate(excluded_checks=excluded)

    excluded = [positive_data_acceptance] if operation.path in CONTENT_DECIDES else []
    try:
        run()
    except Unsatisfiable:  # nothing can be wrong about a request without parameters and body
        return []
    except (Exception, BaseExceptionGroup) as error:  # noqa: BLE001 (all operations are looked at before it fails)
        return [f"{operation.label}: {error}"]
    return []


def found_at(address: str, *, paths: set[str] | None = None) -> list[str]:
    """What Schemathesis finds about a node; of all operations, or of those of some paths."""
    document = schemathesis.openapi.from_url(f"{address}/schema/openapi.json")
    operations = [result.ok() for result in document.get_all_operations()]
    assert len(operations) > 35
    return [
        failure
        for operation in operations
        if operation.path not in ENDLESS and (paths is None or operation.path in paths)
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
        for failure in failures(operation, mode)
    ]


def test_the_document_holds_for_every_operation(api) -> None:
    found = found_at(api.address)
    assert not found, "\n\n".join(found)


def test_it_holds_where_there_is_a_lake_to_ask(start_api) -> None:
    server = start_api("http: {port: 0}\nlake: {}")
    found = found_at(server.address, paths={"/v1/tables", "/v1/query", "/v1/query/export"})
    assert not found, "\n\n".join(found)

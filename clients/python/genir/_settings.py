"""What both clients share apart from I/O: their settings and the state of each call."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from genir._channel import (
    DEFAULT_PORT,
    grpc_target,
    is_local,
    options_of_channel,
    split_target,
)
from genir._contract import digest_of_schema
from genir._known_schemas import KnownSchemas, SentSchema
from genir._request import GenerationOptions, Prompt, generation_spec
from genir._retry import CallBudget, RetryPolicy
from genir._status import error_from_rpc
from genir._stream import StreamReader
from genir.types import Accepted
from genir.v1 import ir_service_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import grpc

    from genir._channel import ChannelOption
    from genir._schema import SchemaArgument
    from genir.types import StreamEvent

T = TypeVar("T")

DEFAULT_TARGET = f"127.0.0.1:{DEFAULT_PORT}"
TARGET_VARIABLE = "GENIR_TARGET"
TOKEN_VARIABLE = "GENIR_TOKEN"  # noqa: S105 - the name of a variable.
DEFAULT_TIMEOUT = 120.0
DEFAULT_READY_TIMEOUT = 600.0
DEFAULT_POLL_INTERVAL = 0.5
# `generate` shows no deltas, so it does not need one for each token.
TOKENS_PER_DELTA_OF_GENERATE = 32


def _checked_token(token: str) -> str:
    if not token.isascii() or not token.isprintable() or " " in token:
        msg = "a token must be printable ASCII without spaces"  # Without the token: it is secret.
        raise ValueError(msg)
    return token


@dataclass(frozen=True, slots=True)
class StreamCall(Generic[T]):
    """The state of one StreamIR call.

    Attributes:
        request: the request message.
        reader: reads the call's events.
        schema: the schema as sent, as text or digest.
        budget: the deadline and the retries.
        result_only: whether the caller sees only the result. Such a call can start again on another
            server after its first event.
        secure: whether the client uses TLS.

    """

    request: ir_service_pb2.StreamIRRequest
    reader: StreamReader[T]
    schema: SentSchema
    budget: CallBudget
    result_only: bool
    secure: bool

    def event(self, data: bytes) -> StreamEvent[T] | None:
        """The event of a message, or None for a kind of event that only newer servers send.

        Raises:
            ModelRefusedError: the model class rejects the IR.
            InvalidResponseError: the message or the order of the events breaks the contract.

        """
        event = self.reader.event(data)
        if isinstance(event, Accepted):
            self.schema.accepted(event.schema_digest)
        return event

    def pause_before_retry(self, rpc_error: grpc.RpcError) -> float:
        """Prepares a retry and returns the seconds to wait before it.

        Raises:
            GenirError: the call must not be retried.

        """
        error = error_from_rpc(
            rpc_error,
            self.budget.timeout,
            self.reader.request_id,
            self.reader.raw_output,
            secure=self.secure,
        )
        if self.reader.started and not self.result_only:
            raise error
        pause = 0.0 if self.schema.restore(error) else self.budget.pause_before_retry(error)
        self.reader.restart()
        return pause


class ClientSettings:
    """How a client connects and calls. It connects with the first call.

    Args:
        target: ``host:port`` or any other gRPC target; or several numeric addresses, as a sequence
            or separated by commas, which share the calls. Without a port it is 50051. Default: the
            environment variable GENIR_TARGET, else 127.0.0.1:50051.
        timeout: default deadline of a call in seconds, retries included. Default 120.
        retry: how often to retry a call. Default: `RetryPolicy()`.
        credentials: channel credentials, such as those of `tls_credentials()`. Default: none; the
            connection is not encrypted.
        token: bearer token to send with every call. Default: the environment variable GENIR_TOKEN,
            else none; "" sends none even where the variable is set. Without credentials, only
            targets on this machine are allowed, unless `allow_insecure_token` is set.
        allow_insecure_token: whether the token may cross a network unencrypted.
        metadata: headers to send with every call.
        round_robin: whether all addresses of the target share the calls, except those whose health
            service does not report SERVING. When none of them serves, every call fails with
            `UnavailableError`, `health` included. Default: true for several addresses.
        send_digests: whether to send only the digest of a schema of 1 KiB or more once the server
            has accepted it. The client sends the text again to a server that does not know the
            digest. Default true.
        channel_options: further gRPC channel options; they override the client's own.

    Raises:
        ValueError: gRPC cannot express the target, the timeout is not above 0, or the token does
            not fit into a header or would cross a network unencrypted.

    """

    def __init__(
        self,
        target: str | Sequence[str] | None = None,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        retry: RetryPolicy | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        token: str | None = None,
        allow_insecure_token: bool = False,
        metadata: Mapping[str, str | bytes] | None = None,
        round_robin: bool | None = None,
        send_digests: bool = True,
        channel_options: Sequence[ChannelOption] = (),
    ) -> None:
        if target is None:
            target = os.environ.get(TARGET_VARIABLE) or DEFAULT_TARGET
        addresses = split_target(target)
        several = not isinstance(addresses, str) and len(addresses) > 1
        self._target = grpc_target(addresses)
        self._timeout = self._deadline(timeout)
        self._retry = retry or RetryPolicy()
        self._credentials = credentials
        self._metadata = tuple((metadata or {}).items())
        self._known_schemas = KnownSchemas(enabled=send_digests)
        if token is None:
            token = os.environ.get(TOKEN_VARIABLE, "").strip()
        if token:
            if credentials is None and not (allow_insecure_token or is_local(self._target)):
                msg = "a token must not cross a network unencrypted: give credentials too"
                raise ValueError(msg)
            self._metadata += (("authorization", f"Bearer {_checked_token(token)}"),)
        self._options = options_of_channel(
            self._target,
            round_robin=several if round_robin is None else round_robin,
            extra=channel_options,
        )

    def _deadline(self, timeout: float | None) -> float:
        if timeout is None:
            return self._timeout
        if not timeout > 0:
            msg = f"timeout must be above 0 seconds, not {timeout}"
            raise ValueError(msg)
        return timeout

    def _budget(self, timeout: float | None) -> CallBudget:
        return CallBudget(self._retry, self._deadline(timeout))

    def _stream_call(
        self,
        prompt: Prompt,
        schema: SchemaArgument[T],
        timeout: float | None,
        options: GenerationOptions,
        *,
        tokens_per_delta: int | None = None,
        result_only: bool = False,
    ) -> StreamCall[T]:
        spec = generation_spec(prompt, schema, options)
        request = ir_service_pb2.StreamIRRequest(spec=spec, tokens_per_delta=tokens_per_delta)
        digest = digest_of_schema(spec)
        return StreamCall(
            request=request,
            reader=StreamReader(schema, spec.request_id, digest),
            schema=self._known_schemas.shorten(request.spec, digest),
            budget=self._budget(timeout),
            result_only=result_only,
            secure=self._credentials is not None,
        )

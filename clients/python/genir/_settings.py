"""What both clients are made of but for their I/O: settings, and the plan of each call."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from genir._channel import grpc_target, is_local, options_of_channel, split_target
from genir._known_schemas import KnownSchemas, SentSchema
from genir._request import GenerationOptions, Prompt, generation_spec
from genir._retry import CallBudget, RetryPolicy
from genir._stream import StreamReader
from genir.types import Accepted
from genir.v1 import ir_service_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import grpc

    from genir._channel import ChannelOption
    from genir._schema import SchemaArgument
    from genir.errors import GenirError
    from genir.types import StreamEvent

T = TypeVar("T")

DEFAULT_TARGET = "127.0.0.1:50051"
TARGET_VARIABLE = "GENIR_TARGET"
TOKEN_VARIABLE = "GENIR_TOKEN"  # noqa: S105 - the name of a variable.
DEFAULT_TIMEOUT = 120.0
DEFAULT_READY_TIMEOUT = 600.0
DEFAULT_POLL_INTERVAL = 0.5
# A call for one whole result needs no delta of its own for every token.
TOKENS_PER_DELTA_OF_GENERATE = 32


def _checked_token(token: str) -> str:
    if not token.isascii() or not token.isprintable() or " " in token:
        msg = "a token must be printable ASCII without spaces"  # Without the token: it is secret.
        raise ValueError(msg)
    return token


@dataclass(frozen=True, slots=True)
class StreamCall(Generic[T]):
    """One call of StreamIR before it is made.

    Attributes:
        request: the message.
        reader: what reads its events.
        schema: how its schema is sent.
        budget: its deadline and its attempts.
        timeout: its whole deadline in seconds.
        result_only: whether its caller sees nothing but the result, so that what a server that went
            away had begun can be begun again at another one.

    """

    request: ir_service_pb2.StreamIRRequest
    reader: StreamReader[T]
    schema: SentSchema
    budget: CallBudget
    timeout: float
    result_only: bool

    def event(self, message: ir_service_pb2.StreamIRResponse) -> StreamEvent[T] | None:
        """The event of a message; None for one that a newer server may have added.

        Raises:
            ModelRefusedError: the model class refuses the IR.
            ServerFaultError: the IR is not JSON.

        """
        event = self.reader.event(message)
        if isinstance(event, Accepted):
            self.schema.accepted(event.schema_digest)
        return event

    def pause_before_retry(self, error: GenirError) -> float | None:
        """Seconds to wait before the call is made again; None to give up with `error`."""
        if self.reader.started and not self.result_only:
            return None
        pause = 0.0 if self.schema.restore(error) else self.budget.pause_before_retry(error)
        if pause is not None:
            self.reader.restart()
        return pause


class ClientSettings:
    """How a client connects and calls. Nothing connects before the first call.

    Args:
        target: ``host:port`` or any other gRPC target; or several numeric addresses, as a sequence
            or separated by commas, over which calls are spread. Default: the environment variable
            GENIR_TARGET, else 127.0.0.1:50051.
        timeout: deadline in seconds of a call that is given none, retries included. Default 120.
        retry: how often a call is made again when the server says when to come back.
        credentials: channel credentials, such as those of `tls_credentials()`. Default: none, a
            plain connection.
        token: bearer token to send with every call. Default: the environment variable GENIR_TOKEN,
            else none; "" sends none even where the variable is set. Without credentials it goes to
            loopback addresses only, unless `allow_insecure_token` is set.
        allow_insecure_token: whether the token may cross a network unencrypted.
        metadata: sent with every call.
        round_robin: whether calls are spread over all addresses of the target, leaving out those
            whose health service says they do not serve. Default: only with several targets. While
            none of them serves, every call fails with `UnavailableError`, `health` included.
        send_digests: whether a schema of 1 KiB or more that the server has accepted from this
            client is sent as its digest the next time. A server that does not know the digest is
            sent the text at once. Default true.
        channel_options: further options of the gRPC channel; they win over the client's own.

    Raises:
        ValueError: a target that gRPC cannot express, a timeout that is not above 0, a token that
            no header can hold or that would go over a network in the clear.

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
        addresses = split_target(target or os.environ.get(TARGET_VARIABLE) or DEFAULT_TARGET)
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
                msg = "a token must not go over a network in the clear: give credentials too"
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

    def _budget(self, timeout: float) -> CallBudget:
        return CallBudget(self._retry, timeout)

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
        seconds = self._deadline(timeout)
        request = ir_service_pb2.StreamIRRequest(spec=spec, tokens_per_delta=tokens_per_delta)
        return StreamCall(
            request=request,
            reader=StreamReader(schema, spec.request_id),
            schema=self._known_schemas.shorten(request.spec),
            budget=self._budget(seconds),
            timeout=seconds,
            result_only=result_only,
        )

"""Everything an operator can set: one model, read from flags and ``GENIR_*`` variables.

A flag wins over the environment, the environment over the default. ``genir serve --help`` is made
from this model.
"""

from __future__ import annotations

import ipaddress
import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from genir_server.admission import AdmissionLimits
from genir_server.domain.limits import MAX_TOKENS_PER_DELTA
from genir_server.schema.limits import SchemaLimits
from genir_server.supervision.engine_supervisor import RestartPolicy

MEBIBYTE = 1 << 20
DEFAULT_PORT = 50051

# The bound on the text has a setting of its own: it is held against a request before anything else.
_SCHEMA_LIMITS = {
    name: default for name, default in asdict(SchemaLimits()).items() if name != "schema_bytes"
}


class ServerSettings(BaseSettings):
    """Serve IRs over gRPC."""

    model_config = SettingsConfigDict(
        env_prefix="GENIR_",
        cli_prog_name="genir serve",
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_avoid_json=True,
        env_ignore_empty=True,
        extra="forbid",
    )

    host: str = Field(
        "127.0.0.1",
        description="Address to listen on. Anything but loopback needs TLS and authentication, or "
        "--allow-insecure.",
    )
    port: int = Field(DEFAULT_PORT, ge=0, le=65535, description="TCP port; 0 takes a free one.")
    port_file: Path | None = Field(
        None, description="File that the port is written to once it is open."
    )
    health_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="Second port, always plaintext, that answers grpc.health.v1 and nothing else: "
        "Kubernetes' own probes speak no TLS. 0 takes a free one.",
    )

    tls_cert: Path | None = Field(
        None,
        description="PEM file with the server's certificate and its intermediates: TLS is on. "
        "Followed while the server runs, like the next three.",
    )
    tls_key: Path | None = Field(None, description="PEM file with the certificate's key.")
    tls_client_ca: Path | None = Field(
        None,
        description="PEM file with the authorities that callers need a certificate of: mTLS is on.",
    )
    auth_file: Path | None = Field(
        None,
        description="TOML file with the callers: digests of their tokens, names in their "
        "certificates, their permissions. See SECURITY.md.",
    )
    allow_insecure: bool = Field(
        default=False,
        description="Whether to listen on more than loopback without TLS or authentication.",
    )

    model: str | None = Field(
        None,
        description="Folder or name of a model that vLLM loads. Unset: the embedded SmolLM2-135M.",
    )
    served_model_name: str | None = Field(
        None, description="Name that callers know the model by. Unset: derived from the model."
    )
    structured_output_backend: Literal["guidance", "xgrammar", "auto"] = Field(
        "guidance", description="What constrains the decoding."
    )
    jump_forward: Literal["auto", "on", "off"] = Field(
        "auto",
        description="Propose forced tokens as drafts instead of generating them one by one. Needs "
        "the backend guidance and excludes min_p. auto: on CPUs only.",
    )
    prompt_lookup: bool = Field(
        True,
        description="Also draft by prompt lookup: where nothing is forced, propose what followed "
        "the same tokens earlier. Needs jump-forward.",
    )
    fork_engine: bool = Field(
        True,
        description="Start faster on a CPU: fork the engine's processes from a fork server that "
        "imports vLLM while the server does.",
    )
    max_model_len: int | None = Field(
        None,
        ge=16,
        description="Context in tokens. Unset: 4096 for the embedded model, else the model's own.",
    )
    lora_adapters: dict[str, str] = Field(
        default_factory=dict, description="LoRA adapters to serve: NAME=FOLDER, repeatable."
    )
    engine_args: dict[str, Any] = Field(
        default_factory=dict,
        description="Any further vLLM engine argument: NAME=VALUE, repeatable, or a JSON object, "
        "which the variable always takes, and values with commas.",
    )

    on_engine_death: Literal["restart", "exit"] = Field(
        "restart",
        description="What to do when the engine dies: start another one, or exit with code 5.",
    )
    engine_restarts: int = Field(
        3,
        ge=0,
        description="Restarts within `--engine-restart-window` after which the next loss is an "
        "exit with code 5.",
    )
    engine_restart_window: float = Field(
        600.0, gt=0, description="Seconds over which restarts are counted."
    )
    engine_stall_timeout: float = Field(
        60.0,
        ge=0,
        description="Seconds without a finished step, while there is work, after which the engine "
        "is taken for stuck and killed; 0 never. Must be longer than the slowest single step.",
    )

    max_concurrent_calls: int = Field(
        256,
        ge=1,
        description="Generate calls under way at once, waiting ones included; more are answered "
        "OVERLOADED.",
    )
    max_calls_per_caller: int | None = Field(
        None,
        ge=1,
        description="Of those, how many may come from one caller: who it is by its token or "
        "certificate, else its host. Unset: all.",
    )
    max_running_calls: int | None = Field(
        None,
        ge=1,
        description="Generate calls in the engine at once; the others wait for their turn. Unset: "
        "one less than vLLM's `max_num_seqs`.",
    )
    max_running_tokens: int | None = Field(
        None,
        ge=1,
        description="Tokens, prompt and max_tokens together, of the calls in the engine. Unset: "
        "twice what the KV cache holds.",
    )
    max_waiting_tokens: int | None = Field(
        None, ge=1, description="Tokens of the calls that wait for their turn. Unset: any number."
    )
    default_deadline: float = Field(
        600.0, gt=0, description="Seconds that a call without a deadline of its own may take."
    )
    slow_reader_timeout: float = Field(
        60.0,
        gt=0,
        description="Seconds that a client may leave its stream unread before the server ends the "
        "call and frees its place.",
    )
    tokens_per_delta: int = Field(
        1,
        ge=1,
        le=MAX_TOKENS_PER_DELTA,
        description="Tokens that a stream's deltas wait for when its caller does not say; more "
        "makes streams cheaper.",
    )
    drain_timeout: float = Field(
        30.0, ge=0, description="Seconds that calls in flight get to finish when the server stops."
    )
    lame_duck: float = Field(
        0.0,
        ge=0,
        description="Seconds between a signal to stop and the drain, with readiness off and calls "
        "still accepted. SIGUSR1 turns readiness off, and on again, without stopping.",
    )
    max_message_bytes: int = Field(
        16 * MEBIBYTE, ge=4096, description="Largest request message that the transport reads."
    )
    max_metadata_bytes: int = Field(
        16 * 1024, ge=1024, description="Largest metadata of a call that the transport reads."
    )
    max_connections: int = Field(
        1000, ge=1, description="Connections to a port at once; more are closed at once."
    )
    max_streams_per_connection: int = Field(
        1024, ge=1, description="Calls under way on one connection; more wait at the client."
    )
    max_connection_age: float | None = Field(
        None,
        gt=0,
        description="Seconds after which a connection takes no new calls, so that the client makes "
        "another; calls under way finish. Unset: no limit.",
    )
    message_timeout: float = Field(
        30.0, gt=0, description="Seconds in which the request message of a call has to arrive."
    )
    max_input_bytes: int = Field(
        MEBIBYTE, ge=1, description="Largest prompt, conversation and system message together."
    )
    max_schema_bytes: int = Field(MEBIBYTE, ge=2, description="Largest schema text.")
    schema_limits: dict[str, Any] = Field(
        default_factory=dict,
        description="Any other limit that docs/schemas.md lists, in place of its default: "
        "NAME=NUMBER, repeatable, or a JSON object, which the variable always takes.",
    )
    schema_workers: int = Field(
        2,
        ge=1,
        description="Processes that check and compile schemas, each for one at a time; one more is "
        "for slow ones.",
    )
    schema_cache_bytes: int = Field(
        256 * MEBIBYTE, ge=MEBIBYTE, description="Memory for schemas that are kept ready."
    )
    bound_output: bool = Field(
        default=True,
        description="Whether values that a schema leaves unbounded are bounded, and that reported.",
    )

    metrics_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="TCP port of the Prometheus metrics; 0 takes a free one. Unset: none is open.",
    )
    metrics_host: str = Field("127.0.0.1", description="Address that the metrics are served on.")

    otlp_endpoint: str | None = Field(
        None,
        pattern="^https?://[^/]+$",
        description="Where traces are sent over OTLP/gRPC, such as http://127.0.0.1:4317; needs "
        "genir[otel]. Unset: no traces.",
    )

    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="Form of the log on standard error; auto is console on a terminal."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe message that is logged."
    )
    log_content: bool = Field(
        default=False, description="Whether prompts and outputs are logged too."
    )

    def admission_limits(self) -> AdmissionLimits:
        """Bounds on what is under way at once."""
        return AdmissionLimits(
            calls=self.max_concurrent_calls,
            calls_per_caller=self.max_calls_per_caller,
            running=self.max_running_calls,
            running_tokens=self.max_running_tokens,
            waiting_tokens=self.max_waiting_tokens,
        )

    def limits_on_schemas(self) -> SchemaLimits:
        """Bounds that callers' schemas must keep."""
        return SchemaLimits(schema_bytes=self.max_schema_bytes, **self.schema_limits)

    def restart_policy(self) -> RestartPolicy:
        """What is done when an engine is lost."""
        return RestartPolicy(
            restarts=self.engine_restarts if self.on_engine_death == "restart" else 0,
            window=self.engine_restart_window,
            stall_timeout=self.engine_stall_timeout,
        )

    @field_validator("port", mode="before")
    @classmethod
    def _not_a_service_link(cls, port: object) -> object:
        """Passes over what Kubernetes puts into GENIR_PORT beside a Service named genir."""
        return DEFAULT_PORT if isinstance(port, str) and port.startswith("tcp://") else port

    @model_validator(mode="after")
    def _safe(self) -> Self:
        """Refuses half a TLS configuration, and a server open to the network by oversight."""
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("--tls-cert and --tls-key go together")
        if self.tls_client_ca is not None and self.tls_cert is None:
            raise ValueError("--tls-client-ca needs --tls-cert and --tls-key")
        authenticated = self.auth_file is not None or self.tls_client_ca is not None
        secure = self.tls_cert is not None and authenticated
        if not (secure or self.allow_insecure or _is_loopback(self.host)):
            raise ValueError(
                f"--host {self.host} opens the server to the network without TLS and "
                "authentication: give --tls-cert, --tls-key and --auth-file (or --tls-client-ca), "
                "or say --allow-insecure"
            )
        return self

    @field_validator("engine_args")
    @classmethod
    def _read_values(cls, engine_args: dict[str, Any]) -> dict[str, Any]:
        """Reads NAME=VALUE pairs as JSON where they are JSON, so that numbers are numbers."""
        return {name: _json_or_text(value) for name, value in engine_args.items()}

    @field_validator("schema_limits")
    @classmethod
    def _read_limits(cls, schema_limits: dict[str, Any]) -> dict[str, int | float]:
        """Reads NAME=NUMBER pairs, and refuses limits that there are not."""
        return dict(_read_limit(name, value) for name, value in schema_limits.items())


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return host == "localhost"


def _json_or_text(value: Any) -> Any:  # noqa: ANN401 - any engine argument.
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def _read_limit(name: str, value: Any) -> tuple[str, int | float]:  # noqa: ANN401 - from outside.
    """A limit by its name in `SchemaLimits`, as the kind of number that it is there."""
    name = name.replace("-", "_")
    if name not in _SCHEMA_LIMITS:
        raise ValueError(
            f"there is no limit {name!r}; there are {', '.join(_SCHEMA_LIMITS)} "
            "(schema_bytes is --max-schema-bytes)"
        )
    number = _json_or_text(value)
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise ValueError(f"{name} must be a number, not {number!r}")  # noqa: TRY004 - a setting.
    if not (number > 0 and math.isfinite(number)):
        raise ValueError(f"{name} must be above 0, not {number!r}")
    if isinstance(_SCHEMA_LIMITS[name], float):
        return name, float(number)
    if number != int(number):
        raise ValueError(f"{name} must be a whole number, not {number!r}")
    return name, int(number)

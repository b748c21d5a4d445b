"""The settings of a server.

A flag wins over its environment variable, the variable over the default. ``genir serve --help`` and
docs/settings.md are made from this model.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from genir_server.admission import AdmissionLimits
from genir_server.domain.limits import MAX_TOKENS_PER_DELTA
from genir_server.schema.limits import SchemaLimits
from genir_server.settings.named_values import json_or_text, read_schema_limits
from genir_server.supervision.engine_launcher import SchemaOptions
from genir_server.supervision.engine_supervisor import RestartPolicy

MEBIBYTE = 1 << 20
DEFAULT_PORT = 50051
_MAX_INT = (1 << 31) - 1
"""The largest number that gRPC's options hold."""
_MAX_SECONDS = 1_000_000.0
"""In milliseconds it still fits into such a number."""


class ServerSettings(BaseSettings):
    """Serve IRs over gRPC."""

    model_config = SettingsConfigDict(
        env_prefix="GENIR_",
        cli_prog_name="genir serve",
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_avoid_json=True,
        env_ignore_empty=True,
        # gRPC and vLLM count in integers, so infinity is no number for "never".
        allow_inf_nan=False,
        extra="forbid",
    )

    # Addresses.
    host: str = Field(
        "127.0.0.1",
        description="Address to listen on. Any but loopback needs TLS and authentication, or "
        "--allow-insecure.",
    )
    port: int = Field(DEFAULT_PORT, ge=0, le=65535, description="TCP port; 0 picks a free one.")
    port_file: Path | None = Field(
        None, description="File to write the port to once the server listens."
    )
    health_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="Second port for grpc.health.v1 alone, always plaintext, because Kubernetes "
        "probes speak no TLS. 0 picks a free one. Unset: none.",
    )

    # TLS and authentication.
    tls_cert: Path | None = Field(
        None,
        description="PEM file with the server's certificate and its intermediates; turns TLS on. "
        "This file and the next three are reloaded when they change.",
    )
    tls_key: Path | None = Field(None, description="PEM file with the certificate's key.")
    tls_client_ca: Path | None = Field(
        None,
        description="PEM file with the authorities that sign client certificates; turns mTLS on.",
    )
    auth_file: Path | None = Field(
        None,
        description="TOML file with the callers: token digests, certificate names, permissions. "
        "See SECURITY.md.",
    )
    allow_insecure: bool = Field(
        default=False,
        description="Allow other addresses than loopback without TLS or authentication.",
    )

    # Model and engine.
    check: bool = Field(
        default=False,
        description="Only run the checks of a start, without loading the model, print what was "
        "found, and exit with the code that a start would give.",
    )
    model: str | None = Field(
        None,
        description="Folder or name of a model that vLLM can load. Unset: the embedded "
        "SmolLM2-135M.",
    )
    served_model_name: str | None = Field(
        None,
        description="Name of the model for callers. Unset: --model, or of a folder or URL the last "
        "part.",
    )
    structured_output_backend: Literal["guidance", "xgrammar", "auto"] = Field(
        "guidance", description="The library that constrains decoding."
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
    allow_special_tokens: bool = Field(
        default=False,
        description="Read names of special tokens in callers' texts as these tokens. Callers can "
        "then forge turns of a chat. Off: they are text.",
    )
    engine_args: dict[str, Any] = Field(
        default_factory=dict,
        description="Other vLLM engine arguments: NAME=VALUE, repeatable. Use a JSON object in the "
        "environment variable and for values with commas.",
    )

    # Start and loss of the engine.
    start_timeout: float = Field(
        3600.0,
        gt=0,
        le=_MAX_SECONDS,
        description="Seconds that the engine's first start may take, a download included; then the "
        "server exits with code 4. A restart may take three times as long as the last start.",
    )
    on_engine_death: Literal["restart", "exit"] = Field(
        "restart",
        description="What to do when the engine dies: restart it, or exit with code 5.",
    )
    engine_restarts: int = Field(
        3,
        ge=0,
        description="Maximum restarts within `--engine-restart-window`; after the next loss the "
        "server exits with code 5.",
    )
    engine_restart_window: float = Field(
        600.0,
        gt=0,
        description="Seconds over which restarts are counted; at least twice what they all take.",
    )
    engine_stall_timeout: float = Field(
        60.0,
        ge=0,
        description="Seconds without a finished step, while there is work, after which the engine "
        "is killed as stalled; 0 for never. Must exceed the longest single step.",
    )

    # Admission and deadlines.
    max_concurrent_calls: int = Field(
        256,
        ge=1,
        description="Maximum generate calls in flight, queued ones included. More get OVERLOADED.",
    )
    max_calls_per_caller: int | None = Field(
        None,
        ge=1,
        description="Maximum generate calls in flight of one caller (token, certificate or host). "
        "Unset: eight times the free places, so others find some. To allow all, set the maximum of "
        "all callers.",
    )
    max_running_calls: int | None = Field(
        None,
        ge=1,
        description="Maximum generate calls in the engine; others are queued. Unset: one less than "
        "vLLM's `max_num_seqs`, times the data-parallel ranks.",
    )
    max_running_tokens: int | None = Field(
        None,
        ge=1,
        description="Maximum tokens of the calls in the engine, prompt plus max_tokens. Unset: "
        "twice the capacity of the KV caches of all ranks.",
    )
    max_waiting_tokens: int | None = Field(
        None,
        ge=1,
        description="Maximum tokens of the queued calls, shared as the calls in flight are. Unset: "
        "no limit.",
    )
    default_deadline: float = Field(
        600.0, gt=0, description="Deadline in seconds of a call that sets none."
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
        description="Tokens that a stream collects for each delta, unless the call sets its own. "
        "Larger deltas cost less CPU.",
    )
    drain_timeout: float = Field(
        30.0, ge=0, description="Seconds that calls in flight get to finish when the server stops."
    )
    lame_duck: float = Field(
        0.0,
        ge=0,
        description="Seconds between SIGTERM and the drain, with readiness off and calls still "
        "accepted. SIGUSR1 turns readiness off and on without stopping.",
    )

    # Limits of the transport.
    max_message_bytes: int = Field(
        4 * MEBIBYTE,
        ge=4096,
        le=_MAX_INT,
        description="Maximum size of a request message. Prompt and schema may have 1 MiB each.",
    )
    max_metadata_bytes: int = Field(
        16 * 1024, ge=1024, le=_MAX_INT, description="Maximum size of a call's metadata."
    )
    max_connections: int | None = Field(
        None,
        ge=1,
        description="Maximum connections to the main port; more are closed at once. Unset: 1000, "
        "or what the limit of open files allows.",
    )
    max_streams_per_connection: int = Field(
        1024,
        ge=1,
        le=_MAX_INT,
        description="Maximum calls on one connection; more wait in the client.",
    )
    concurrent_accept: bool = Field(
        default=True,
        description="Accept up to 16 calls of a method at once, where grpc.aio accepts one. Needs "
        "a grpcio version that the patch table knows.",
    )
    max_connection_age: float | None = Field(
        None,
        gt=0,
        le=_MAX_SECONDS,
        description="Seconds after which a connection takes no new calls, so that the client "
        "reconnects; calls in flight finish. Unset: no limit.",
    )
    message_timeout: float = Field(
        30.0, gt=0, description="Seconds within which a call's request message must arrive."
    )

    # Limits on requests and schemas.
    max_input_bytes: int = Field(
        MEBIBYTE,
        ge=1,
        description="Maximum size of prompt, conversation and system message together.",
    )
    max_schema_bytes: int = Field(MEBIBYTE, ge=2, description="Maximum size of a schema's text.")
    schema_limits: dict[str, Any] = Field(
        default_factory=dict,
        description="Other limits from docs/schemas.md: NAME=NUMBER, repeatable. Use a JSON object "
        "in the environment variable.",
    )
    schema_workers: int = Field(
        2,
        ge=1,
        description="Processes that check and compile schemas. Each worker handles one schema at a "
        "time; one extra worker is reserved for slow schemas.",
    )
    schema_cache_bytes: int = Field(
        256 * MEBIBYTE, ge=MEBIBYTE, description="Maximum size of the cache of prepared schemas."
    )
    bound_output: bool = Field(
        default=True,
        description="Bound values that a schema leaves unbounded, and report it in the result. "
        "Off, only max_tokens ends a text or the digits of an integer.",
    )

    # Metrics, traces and log.
    metrics_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="TCP port of the Prometheus metrics; 0 picks a free one. Unset: none.",
    )
    metrics_host: str = Field("127.0.0.1", description="Address of the metrics port.")
    otlp_endpoint: str | None = Field(
        None,
        pattern="^https?://[^/]+$",
        description="OTLP/gRPC endpoint for traces, such as http://127.0.0.1:4317. Needs "
        "genir[otel]. Unset: no traces.",
    )
    log_format: Literal["auto", "json", "console"] = Field(
        "auto",
        description="Format of the log on standard error. auto: console on a terminal, else json.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Lowest level that is logged."
    )
    log_content: bool = Field(default=False, description="Also log prompts and outputs.")

    def admission_limits(self) -> AdmissionLimits:
        """The limits on calls in flight."""
        return AdmissionLimits(
            max_calls=self.max_concurrent_calls,
            max_calls_per_caller=self.max_calls_per_caller,
            max_running=self.max_running_calls,
            max_running_tokens=self.max_running_tokens,
            max_queued_tokens=self.max_waiting_tokens,
        )

    def schema_options(self) -> SchemaOptions:
        """How callers' schemas are prepared."""
        return SchemaOptions(
            limits=SchemaLimits(schema_bytes=self.max_schema_bytes, **self.schema_limits),
            bound_output=self.bound_output,
            workers=self.schema_workers,
            cache_bytes=self.schema_cache_bytes,
        )

    def restart_policy(self) -> RestartPolicy:
        """When an engine counts as lost, and how often it is restarted."""
        return RestartPolicy(
            max_restarts=self.engine_restarts if self.on_engine_death == "restart" else 0,
            window=self.engine_restart_window,
            start_timeout=self.start_timeout,
            stall_timeout=self.engine_stall_timeout,
        )

    @field_validator("port", mode="before")
    @classmethod
    def _ignore_service_link(cls, port: object) -> object:
        """Ignores the GENIR_PORT that Kubernetes sets next to a Service named genir."""
        return DEFAULT_PORT if isinstance(port, str) and port.startswith("tcp://") else port

    @model_validator(mode="after")
    def _check_security(self) -> Self:
        """Refuses incomplete TLS settings, and a server open to the network by oversight."""
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("--tls-cert and --tls-key go together")
        if self.tls_client_ca is not None and self.tls_cert is None:
            raise ValueError("--tls-client-ca needs --tls-cert and --tls-key")
        authenticated = self.auth_file is not None or self.tls_client_ca is not None
        secure = self.tls_cert is not None and authenticated
        if not (secure or self.allow_insecure or _is_loopback(self.host)):
            raise ValueError(
                f"--host {self.host} opens the server to the network without TLS and "
                "authentication: set --tls-cert, --tls-key and --auth-file (or --tls-client-ca), "
                "or --allow-insecure"
            )
        return self

    @field_validator("engine_args")
    @classmethod
    def _read_engine_args(cls, engine_args: dict[str, Any]) -> dict[str, Any]:
        return {name: json_or_text(value) for name, value in engine_args.items()}

    @field_validator("schema_limits")
    @classmethod
    def _read_schema_limits(cls, schema_limits: dict[str, Any]) -> dict[str, int | float]:
        return read_schema_limits(schema_limits)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return host == "localhost"

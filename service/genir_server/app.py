"""The server process: opens the port, loads the engine behind it, drains, exits.

Exit codes: 0 after SIGTERM or SIGINT, 2 for invalid settings, 3 for an address that cannot be
bound, 4 when the engine could not start, 5 when the engine was lost and is not restarted, and 128
plus the signal's number when a second signal interrupts the drain.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import structlog
import uvloop

from genir_server.admission import Admission
from genir_server.auth.access_control import AccessControl, AccessFiles
from genir_server.auth.watched_files import ReloadError
from genir_server.command import (
    EXIT_ADDRESS,
    EXIT_ENGINE,
    EXIT_ENGINE_LOST,
    EXIT_OK,
    EXIT_SETTINGS,
    EXIT_SIGNAL,
    complain,
    engine_config,
    exit_process,
    read_settings,
)
from genir_server.domain.errors import GenirError, Reason
from genir_server.domain.limits import RequestLimits
from genir_server.engine.protocol import END_SECONDS, EngineStartError
from genir_server.observability.metrics_endpoint import MetricsPortError
from genir_server.observability.telemetry import Telemetry, TracingUnavailableError
from genir_server.supervision.engine_launcher import EngineLauncher, start_vllm
from genir_server.supervision.engine_supervisor import (
    EngineLostError,
    EngineSupervisor,
    StartFailedError,
)
from genir_server.supervision.lifecycle import Lifecycle
from genir_server.supervision.shutdown import Shutdown
from genir_server.supervision.signals import handle_signals
from genir_server.transport.interceptor import CallInterceptor
from genir_server.transport.open_files import TooFewFilesError, fit_connections, raise_limit
from genir_server.transport.server import (
    BindError,
    PortFileError,
    StandardHealth,
    bind,
    build_health_server,
    build_server,
    check_address,
    start,
    write_port_file,
)
from genir_server.transport.servicer import IRServicer

if TYPE_CHECKING:
    import signal

    import grpc

    from genir_server.settings import ServerSettings
    from genir_server.supervision.engine_launcher import EngineStarter

_LOST_CALL_SECONDS = 0.5
_TRANSPORT_GRACE_SECONDS = 0.5
_GENERATE_METHODS = frozenset({"GenerateIR", "StreamIR"})

log = structlog.get_logger("genir.server")


def run(argv: list[str], start_engine: EngineStarter = start_vllm) -> int:
    """Runs a server until it is stopped or fails; returns the exit code.

    Args:
        argv: the command line after ``genir serve``.
        start_engine: starts an engine.
    """
    settings = read_settings("genir serve", argv)
    if settings is None:
        return EXIT_SETTINGS
    try:
        server = ServerProcess(fit_connections(settings, raise_limit()), start_engine)
    except (ReloadError, TooFewFilesError, TracingUnavailableError) as error:
        _complain(str(error))
        return EXIT_SETTINGS
    code = uvloop.run(server.check() if settings.check else server.run())
    exit_process(code)
    return code


def _complain(message: str) -> None:
    complain("genir serve", message)


def _exit_by_signal(number: signal.Signals) -> None:
    exit_process(EXIT_SIGNAL + number)


class ServerProcess:
    """One server, from its port to its exit.

    Args:
        settings: what the operator set.
        start_engine: starts an engine.

    Raises:
        ReloadError: a certificate file or the callers file cannot be used.
        TracingUnavailableError: traces are configured, but their packages are not installed.
    """

    def __init__(self, settings: ServerSettings, start_engine: EngineStarter = start_vllm) -> None:
        self._settings = settings
        self._lifecycle = Lifecycle()
        self._admission = Admission(settings.admission_limits())
        self._access = AccessControl(
            AccessFiles(
                tls_cert=settings.tls_cert,
                tls_key=settings.tls_key,
                tls_client_ca=settings.tls_client_ca,
                callers=settings.auth_file,
            )
        )
        limits = RequestLimits(max_input_bytes=settings.max_input_bytes)
        config = engine_config(settings)
        self._telemetry = Telemetry(
            self._lifecycle,
            self._admission,
            model=config.model_name,
            configured_backend=config.structured_output_backend,
            metrics_host=settings.metrics_host,
            metrics_port=settings.metrics_port,
            otlp_endpoint=settings.otlp_endpoint,
        )
        self._telemetry.metrics.certificates.expiry = self._access.certificate_expiry
        self._calls = CallInterceptor(
            settings.default_deadline,
            self._access.authentication,
            slow_reader_timeout=settings.slow_reader_timeout,
            message_timeout=settings.message_timeout,
            observers=self._telemetry.observers,
            log_content=settings.log_content,
        )
        self._servicer = IRServicer(
            self._lifecycle,
            self._admission,
            model=config.model_name,
            configured_backend=config.structured_output_backend,
            limits=limits,
            tokens_per_delta=settings.tokens_per_delta,
        )
        self._launcher = EngineLauncher(
            config,
            settings.schema_options(),
            limits,
            self._lifecycle,
            self._admission,
            schema_observer=self._telemetry.metrics,
            start_engine=start_engine,
        )
        self._supervisor = EngineSupervisor(
            self._lifecycle, self._launcher, settings.restart_policy(), self._end_lost_calls
        )
        self._shutdown = Shutdown(
            self._lifecycle,
            self._admission,
            cut_off=self._calls.cut_off,
            exit_now=_exit_by_signal,
            lame_duck=settings.lame_duck,
            drain_timeout=settings.drain_timeout,
        )

    async def run(self) -> int:
        """Serves until a signal or the loss of the engine; returns the exit code."""
        health = StandardHealth(self._lifecycle)
        await health.start()
        try:
            servers = await self._open_ports(health)
        except (BindError, MetricsPortError) as error:
            log.error("cannot start", detail=str(error))  # noqa: TRY400 - one line, no traceback.
            return EXIT_ADDRESS
        except PortFileError as error:
            log.error("cannot start", detail=str(error))  # noqa: TRY400 - as above.
            return EXIT_SETTINGS
        code = await self._serve()
        await health.stop()
        self._access.stop()
        await asyncio.gather(*(server.stop(_TRANSPORT_GRACE_SECONDS) for server in servers))
        await self._end_engine()
        await self._telemetry.close()
        log.info("stopped", exit_code=code)
        return code

    async def check(self) -> int:
        """Runs the checks of a start and prints what they find; returns the exit code."""
        settings = self._settings
        try:
            check_address(settings.host, settings.port)
            check_address(settings.host, settings.health_port or 0)
            check_address(settings.metrics_host, settings.metrics_port or 0)
            found = await self._launcher.check()
        except (BindError, EngineStartError) as error:
            _complain(str(error))
            return EXIT_ADDRESS if isinstance(error, BindError) else EXIT_ENGINE
        finally:
            await self._end_engine()
        for about, text in found.items():
            print(f"{about}: {text}")  # noqa: T201 - what the user has asked for.
        return EXIT_OK

    async def _open_ports(self, health: StandardHealth) -> list[grpc.aio.Server]:
        """Opens every port and starts to serve; returns the gRPC servers.

        Raises:
            BindError: an address of gRPC cannot be bound.
            MetricsPortError: the address of the metrics cannot be bound.
            PortFileError: the file for the port cannot be written.
        """
        settings, host = self._settings, self._settings.host
        server = build_server(settings, self._servicer, health, self._calls)
        servers = [server]
        port = bind(server, host, settings.port, self._access.credentials)
        if settings.health_port is not None:
            health_server = build_health_server(settings, health)
            health_port = bind(health_server, host, settings.health_port)
            servers.append(health_server)
            await health_server.start()
            log.info("listening for health", host=host, port=health_port)
        self._telemetry.open_port()
        handle_signals(
            stop=self._shutdown.stop,
            reload=self._access.reload,
            toggle_readiness=self._shutdown.toggle_lame_duck,
        )
        await start(
            server, self._servicer, self._calls, concurrent_accept=settings.concurrent_accept
        )
        if settings.port_file is not None:
            write_port_file(settings.port_file, port)
        self._access.start()
        log.info(
            "listening",
            host=host,
            port=port,
            tls=settings.tls_cert is not None,
            authentication=self._access.authentication.on,
        )
        return servers

    async def _serve(self) -> int:
        """Keeps an engine running until the server stops or gives up, then drains."""
        supervising = asyncio.create_task(self._supervisor.run(), name="supervise-engine")
        stopping = asyncio.create_task(self._shutdown.requested.wait(), name="wait-for-stop")
        await asyncio.wait((supervising, stopping), return_when=asyncio.FIRST_COMPLETED)
        code = EXIT_OK
        if self._shutdown.requested.is_set():
            await self._shutdown.be_lame_duck()
        else:
            code = _exit_code(supervising)
        await self._shutdown.drain()
        supervising.cancel()
        await asyncio.wait((supervising,), timeout=_TRANSPORT_GRACE_SECONDS)
        return code

    def _end_lost_calls(self) -> None:
        """Ends the calls that a lost engine leaves behind.

        Calls that wait for the engine's next token fail at once by themselves. Those in the queue
        fail here. Calls that still compile a schema, or whose client does not read, would notice
        late and are cut off after a moment.
        """
        lost_at = time.monotonic()
        self._admission.fail_queued(
            Reason.ENGINE_DEAD, "the engine died while this request was queued"
        )

        def cut_off() -> None:
            error = GenirError(
                Reason.ENGINE_DEAD, "the engine died while this request was in flight"
            )
            count = self._calls.cut_off(error, _GENERATE_METHODS, began_before=lost_at)
            if count:
                log.warning("calls cut off", calls=count)

        asyncio.get_running_loop().call_later(_LOST_CALL_SECONDS, cut_off)

    async def _end_engine(self) -> None:
        try:
            async with asyncio.timeout(END_SECONDS):
                await self._launcher.close()
        except TimeoutError:
            log.warning("the engine did not stop in time")


def _exit_code(supervising: asyncio.Task[None]) -> int:
    """The exit code after the supervisor gave up."""
    try:
        supervising.result()
    except StartFailedError as error:
        log.error("cannot start", detail=str(error))  # noqa: TRY400 - one line, no traceback.
        return EXIT_ENGINE
    except EngineLostError as error:
        log.error("cannot go on", detail=str(error))  # noqa: TRY400 - as above.
        return EXIT_ENGINE_LOST
    raise AssertionError("a supervisor ends without an error only while the server stops")

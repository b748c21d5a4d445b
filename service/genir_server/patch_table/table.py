"""The table: one entry for each place where genir depends on another project's internals.

`fits` checks an entry against the installed packages. A module that patches something calls
`fits.applies` first, and runs without its patch if the installed version does not fit. Entries with
`required` are checked together in `engine/vllm/start.py`; the server does not start without them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

How = Literal["replaced", "subclassed", "read", "configuration"]

VLLM = "vllm 0.32.0 (or 0.33.0, whose sources were compared with it)"
PYTHON = "Python 3.11 and 3.12"
NOT_FOUND = "none found"
"""Value of `Patch.upstream` where a search found no issue or pull request."""

_PULL = "https://github.com/vllm-project/vllm/pull/"
_ISSUE = "https://github.com/vllm-project/vllm/issues/"


@dataclass(frozen=True, slots=True)
class Touch:
    """One name in another project that a patch depends on.

    Attributes:
        name: module and attribute, as `pkgutil.resolve_name` takes them: "package.module:Class".
        how: what the patch does with it. "configuration" means that a field is changed after the
            project has checked it, or that a hook is used in a way that is not documented.
        parameters: the names of all its parameters, in order; None to allow any.
        fields: attributes that it must have.
        first_fields: the names of its first dataclass fields, in order.
        calls: names that the function must look up when it is called.
        values: values that the type alias must allow.

    """

    name: str
    how: How
    parameters: tuple[str, ...] | None = None
    fields: tuple[str, ...] = ()
    first_fields: tuple[str, ...] = ()
    calls: tuple[str, ...] = ()
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Patch:
    """One dependency on internals.

    Attributes:
        name: short name, used in the log.
        module: the file of the package that uses it.
        touches: every name it depends on.
        tested_with: the versions it was tested with.
        reason: why it exists.
        upstream: link to the issue or pull request that would make it unnecessary, or `NOT_FOUND`
            and what was searched.
        remove_when: the condition under which it can be removed.
        setting: the setting that turns it off, or why there is none.
        required: whether the server cannot start without it.

    """

    name: str
    module: str
    touches: tuple[Touch, ...]
    tested_with: str
    reason: str
    upstream: str
    remove_when: str
    setting: str
    required: bool = False


_PATCHES = (
    Patch(
        name="engine client",
        module="engine/vllm/engine.py",
        touches=(
            Touch(
                "vllm.v1.engine.async_llm:AsyncLLM",
                "read",
                fields=("engine_core", "output_processor", "output_handler", "errored"),
            ),
            Touch(
                "vllm.v1.engine.output_processor:OutputProcessor",
                "read",
                fields=("get_num_unfinished_requests", "propagate_error"),
            ),
            Touch(
                "vllm.v1.engine.core_client:BackgroundResources",
                "read",
                fields=("ctx", "engine_manager", "coordinator"),
            ),
            Touch("vllm.v1.engine.utils:CoreEngineProcManager", "read", fields=("processes",)),
            Touch("vllm.v1.engine.coordinator:DPCoordinator", "read", fields=("proc",)),
            Touch(
                "vllm.v1.engine.core_client:AsyncMPClient",
                "read",
                fields=("engine_ranks_managed", "resources"),
            ),
            Touch(
                "vllm.v1.engine.core_client:AsyncMPClient.call_utility_async",
                "read",
                parameters=("self", "method", "args"),
            ),
            Touch(
                "vllm.v1.engine.core_client:AsyncMPClient.call_utility_all_async",
                "read",
                parameters=("self", "method", "args"),
            ),
            Touch("vllm.sampling_params:SamplingParams", "read", fields=("skip_clone",)),
            # Processes that the engine needs are told by their title, "VLLM::…".
            Touch(
                "vllm.utils.system_utils:set_process_title",
                "read",
                parameters=("name", "suffix", "prefix"),
            ),
        ),
        tested_with=VLLM,
        reason="AsyncLLM does not say which processes it has, leaves waiting requests unanswered "
        "when it shuts down, and keeps its sockets' context open.",
        upstream=f"{NOT_FOUND} for requests that are pending at shutdown; {_ISSUE}48745 is about "
        "the same shutdown",
        remove_when="AsyncLLM has a public shutdown that ends pending requests and lists its "
        "processes.",
        setting="none: without it a dead engine is noticed too late.",
        required=True,
    ),
    Patch(
        name="engine activity",
        module="engine/vllm/activity.py",
        touches=(
            Touch(
                "vllm.v1.metrics.loggers:StatLoggerBase.record",
                "replaced",
                parameters=(
                    *("self", "scheduler_stats", "iteration_stats", "mm_cache_stats"),
                    "engine_idx",
                ),
            ),
            Touch(
                "vllm.v1.metrics.loggers:StatLoggerBase.record_sleep_state",
                "replaced",
                parameters=("self", "is_awake", "level"),
            ),
            Touch(
                "vllm.v1.metrics.stats:SchedulerStats",
                "read",
                fields=(
                    *("num_running_reqs", "num_waiting_reqs", "num_skipped_waiting_reqs"),
                    "kv_cache_usage",
                ),
            ),
        ),
        tested_with=VLLM,
        reason="The stall watchdog needs each engine core's own counts and the time of its last "
        "step; vLLM hands them only to a logger of its own shape.",
        upstream=_ISSUE + "36960",
        remove_when="vLLM offers a health check that detects a stalled step.",
        setting="none: the watchdog depends on it.",
        required=True,
    ),
    Patch(
        name="engine process hook",
        module="engine/vllm/child_process.py",
        touches=(
            Touch("vllm.plugins:load_general_plugins", "read", parameters=()),
            Touch(
                "vllm.v1.engine.core:EngineCore",
                "configuration",
                fields=("scheduler", "structured_output_manager"),
            ),
            Touch("vllm.v1.structured_output:StructuredOutputManager", "read", fields=("backend",)),
        ),
        tested_with=VLLM,
        reason="vLLM's processes do not end with their parent, and do not tell the backend in use. "
        "A plugin sets up their log, ends them with their parent, and adds utility methods to the "
        "engine core.",
        upstream=_PULL + "55846",
        remove_when="vLLM ends its processes with their parent and reports the backend in use.",
        setting="none: without it the backend in use cannot be verified.",
        required=True,
    ),
    Patch(
        name="data-parallel coordinator",
        module="engine/vllm/coordinator.py",
        touches=(
            Touch("vllm.v1.engine.coordinator:get_mp_context", "replaced", parameters=()),
            Touch(
                "vllm.v1.engine.coordinator:DPCoordinator.__init__",
                "read",
                calls=("get_mp_context",),
            ),
        ),
        tested_with=VLLM,
        reason="vLLM's coordinator of data-parallel ranks outlives a server that is killed.",
        upstream=_PULL + "55846",
        remove_when="vLLM ends its coordinator with the process that started it.",
        setting="none: it acts only with data parallelism.",
    ),
    Patch(
        name="start fault",
        module="engine/vllm/start_fault.py",
        touches=(Touch("traceback:print_exc", "replaced", parameters=("limit", "file", "chain")),),
        tested_with=f"{VLLM}, {PYTHON}",
        reason="vLLM's parent process learns only that a child failed to start, not why. Filters "
        "on two of vLLM's loggers and this function see the cause.",
        upstream=_ISSUE + "26898",
        remove_when="vLLM's start-up error carries the cause.",
        setting="none: it acts only while a start fails.",
    ),
    Patch(
        name="load progress",
        module="engine/vllm/load_progress.py",
        touches=(Touch("tqdm.std:tqdm.display", "replaced", parameters=("self", "msg", "pos")),),
        tested_with=f"{VLLM}, tqdm 4.70",
        reason="vLLM shows how far a load has come only as bars on its processes' standard error.",
        upstream=NOT_FOUND + " (searched for load progress and use_tqdm_on_load)",
        remove_when="vLLM reports the progress of a load to the process that starts it.",
        setting="--engine-args use_tqdm_on_load=false.",
    ),
    Patch(
        name="resource tracker",
        module="engine/vllm/preflight.py",
        touches=(Touch("multiprocessing.resource_tracker:ensure_running", "read", parameters=()),),
        tested_with=PYTHON,
        reason="Starting the tracker unblocks SIGINT in the thread that starts it, so it has to "
        "run before SIGINT is blocked for the engine's processes.",
        upstream=NOT_FOUND + " (searched for resource_tracker and pthread_sigmask)",
        remove_when="the tracker restores the signal mask that it found.",
        setting="none: without it Ctrl-C ends the engine before the server has drained.",
    ),
    Patch(
        name="environment cache",
        module="engine/vllm/start.py",
        touches=(
            Touch("vllm.envs:enable_envs_cache", "read", parameters=()),
            Touch("vllm.envs:disable_envs_cache", "read", parameters=()),
        ),
        tested_with=VLLM,
        reason="AsyncLLM reads environment variables for every token; vLLM's own processes cache "
        "them, the process of AsyncLLM does not.",
        upstream=NOT_FOUND + " (searched for enable_envs_cache and AsyncLLM)",
        remove_when="AsyncLLM caches them itself.",
        setting="none: it changes no result.",
    ),
    Patch(
        name="compact JSON",
        module="engine/vllm/arguments.py",
        touches=(
            Touch(
                "vllm.config.structured_outputs:StructuredOutputsConfig",
                "configuration",
                fields=("backend", "disable_any_whitespace"),
            ),
        ),
        tested_with=VLLM,
        reason="vLLM refuses disable_any_whitespace with the backend auto, although xgrammar and "
        "guidance both read it. Without it a model may write whitespace forever.",
        upstream=_ISSUE + "42110",
        remove_when="vLLM accepts disable_any_whitespace with auto.",
        setting="--structured-output-backend guidance needs no change of the field.",
        required=True,
    ),
    Patch(
        name="schema check",
        module="engine/patches/checked_schemas.py",
        touches=(
            Touch(
                "vllm.v1.structured_output.backend_guidance:validate_guidance_grammar",
                "replaced",
                parameters=("sampling_params", "tokenizer"),
            ),
            Touch(
                "vllm.sampling_params:SamplingParams._validate_structured_outputs",
                "read",
                # It must look the function up when it is called, or the replacement has no effect.
                calls=("validate_guidance_grammar",),
            ),
        ),
        tested_with=VLLM,
        reason="genir has compiled the schema in a worker process; vLLM would compile it again in "
        "the server's process for each request.",
        upstream=f"{NOT_FOUND} for the validation; {_PULL}49504 caches a part of it",
        remove_when="vLLM caches the result of its validation.",
        setting="none: it changes no result.",
    ),
    Patch(
        name="grammar cache",
        module="engine/patches/grammar_cache.py",
        touches=(
            Touch(
                "vllm.v1.structured_output.backend_guidance:GuidanceBackend.compile_grammar",
                "replaced",
                parameters=("self", "request_type", "grammar_spec", "stop_token_ids"),
            ),
            Touch(
                "vllm.v1.structured_output.backend_guidance:GuidanceGrammar",
                "read",
                first_fields=("ll_matcher", "ll_tokenizer", "vocab_size"),
            ),
            Touch("llguidance:LLMatcher", "read", fields=("deep_copy", "is_error")),
        ),
        tested_with=f"{VLLM}, llguidance 1.7.6",
        reason="vLLM's guidance backend compiles the grammar anew for each request.",
        upstream=_PULL + "49504",
        remove_when="vLLM's guidance backend caches compiled grammars.",
        setting="none: it changes no result.",
    ),
    Patch(
        name="forced texts",
        module="engine/patches/forced_texts.py",
        touches=(
            Touch(
                "vllm.v1.structured_output.backend_guidance:GuidanceBackend._build_ll_tokenizer",
                "replaced",
                parameters=("tokenizer", "vocab_size"),
            ),
            Touch(
                "vllm.v1.structured_output.backend_guidance:GuidanceBackend.__post_init__",
                "read",
                calls=("_build_ll_tokenizer",),
            ),
            # Its constructor has no signature that can be read; a test compares its tokens.
            Touch("llguidance:LLTokenizer", "read", fields=("tokenize_bytes",)),
        ),
        tested_with=f"{VLLM}, llguidance 1.7.6",
        reason="llguidance tokenizes a forced text with the model's tokenizer, which may read the "
        "name of a special token in it or normalize it. The grammar then fails at this token.",
        upstream="https://github.com/guidance-ai/llguidance/pull/377",
        remove_when="llguidance forces no tokens that write another text.",
        setting="none: without it such schemas fail.",
    ),
    Patch(
        name="resume",
        module="engine/patches/resume.py",
        touches=(
            Touch(
                "vllm.v1.structured_output:StructuredOutputManager._create_grammar",
                "replaced",
                parameters=("self", "request"),
            ),
            Touch(
                "vllm.v1.structured_output:StructuredOutputManager.grammar_init",
                "read",
                # It must look the method up when it is called, or the replacement has no effect.
                calls=("_create_grammar",),
            ),
            Touch("vllm.sampling_params:SamplingParams", "configuration", fields=("extra_args",)),
            Touch("vllm.v1.request:Request", "read", fields=("sampling_params",)),
            Touch(
                "vllm.v1.structured_output.backend_guidance:GuidanceGrammar",
                "read",
                fields=("ll_matcher", "ll_tokenizer"),
            ),
            Touch(
                "vllm.v1.structured_output.backend_xgrammar:XgrammarGrammar",
                "read",
                fields=("matcher",),
            ),
            Touch("llguidance:LLMatcher", "read", fields=("is_error", "try_consume_tokens")),
            Touch(
                "llguidance:LLTokenizer",
                "read",
                fields=("greedy_tokenize", "tokenize_bytes", "decode_bytes"),
            ),
            Touch("xgrammar:GrammarMatcher", "read", fields=("accept_string",)),
        ),
        tested_with=f"{VLLM}, llguidance 1.7.6, xgrammar 0.2.8",
        reason="vLLM makes every grammar at its beginning, so a generation cannot continue a text.",
        upstream=NOT_FOUND
        + " (searched for guided decoding of a partial text and _create_grammar)",
        remove_when="a request of vLLM can name a text that its grammar has consumed.",
        setting="none: it acts only on requests that continue a text.",
    ),
    Patch(
        name="quick end",
        module="engine/patches/quick_end.py",
        touches=(
            Touch("vllm.v1.engine.core:EngineCore.shutdown", "replaced", parameters=("self",)),
            Touch(
                "vllm.v1.executor.multiproc_executor:WorkerProc.shutdown",
                "replaced",
                parameters=("self",),
            ),
            Touch("gc:unfreeze", "replaced"),
        ),
        tested_with=f"{VLLM}, {PYTHON}",
        reason="An engine core and its workers search everything they have loaded for garbage when "
        "they end, for a second or two each.",
        upstream=f"{NOT_FOUND}; for ROCm vLLM itself freezes the heap of an engine core that ends",
        remove_when="vLLM's processes end without collecting garbage.",
        setting="none: it acts only on CPUs, in a process that ends.",
    ),
    Patch(
        name="jump-forward",
        module="engine/jump_forward/config.py",
        touches=(
            Touch(
                "vllm.v1.core.sched.scheduler:Scheduler",
                "subclassed",
                fields=(
                    *("schedule", "update_draft_token_ids", "running", "requests"),
                    *("num_spec_tokens", "max_num_running_reqs", "max_num_scheduled_tokens"),
                    *("dynamic_sd_lookup", "structured_output_manager"),
                ),
            ),
            Touch(
                "vllm.v1.core.sched.scheduler:Scheduler.update_from_output",
                "replaced",
                parameters=("self", "scheduler_output", "model_runner_output"),
            ),
            Touch(
                "vllm.v1.request:Request",
                "read",
                fields=(
                    *("num_tokens", "num_tokens_with_spec", "num_output_tokens", "max_tokens"),
                    *("spec_token_ids", "num_computed_tokens", "output_token_ids"),
                    *("all_token_ids", "structured_output_request"),
                ),
            ),
            Touch(
                "vllm.v1.core.sched.output:SchedulerOutput",
                "read",
                fields=("num_scheduled_tokens", "scheduled_spec_decode_tokens"),
            ),
            Touch(
                "vllm.v1.outputs:ModelRunnerOutput",
                "read",
                fields=("sampled_token_ids", "req_id_to_index"),
            ),
            Touch(
                "vllm.v1.structured_output.backend_guidance:GuidanceGrammar",
                "read",
                fields=("ll_matcher", "ll_tokenizer", "validate_tokens", "is_terminated"),
            ),
            Touch(
                "vllm.v1.structured_output:StructuredOutputManager",
                "read",
                fields=("reasoner_cls",),
            ),
            Touch("llguidance:LLMatcher", "read", fields=("compute_ff_bytes",)),
            Touch("llguidance:LLTokenizer", "read", fields=("tokenize_bytes", "decode_bytes")),
            Touch(
                "vllm.config.speculative:SpeculativeMethod",
                "configuration",
                values=("custom_class",),
            ),
            Touch(
                "vllm.config.speculative:SpeculativeConfig",
                "configuration",
                fields=("draft_model_config",),
            ),
            Touch("vllm.config:ModelConfig", "configuration", fields=("max_model_len",)),
        ),
        tested_with=f"{VLLM}, llguidance 1.7.6",
        reason="vLLM spends one step on each token that the grammar forces.",
        upstream=_PULL + "45400",
        remove_when="vLLM drafts the tokens that a grammar forces.",
        setting="--jump-forward off",
    ),
    Patch(
        name="draft sampling on CPUs",
        module="engine/patches/expand_kernel.py",
        touches=(
            Touch(
                "vllm.triton_utils.dispatcher:register_kernels",
                "configuration",
                parameters=("overrides",),
            ),
            Touch(
                "vllm.v1.sample.rejection_sampler:expand_batch_to_tokens",
                "read",
                parameters=("x", "cu_num_tokens", "num_tokens", "replace_from", "replace_to"),
            ),
            Touch("vllm.v1.sample.rejection_sampler:expand_kernel", "replaced"),
        ),
        tested_with=VLLM,
        reason="vLLM's CPU kernel writes the sampling parameters of drafts into a copy that is "
        "discarded, so drafts are verified with uninitialized values.",
        upstream=_ISSUE + "55005",
        remove_when="the issue is fixed: the patch then finds vLLM's kernel right and does "
        "nothing, and a test fails.",
        setting="--jump-forward off",
    ),
    Patch(
        name="seeded sampling on CPUs",
        module="engine/patches/seeded_sampling.py",
        touches=(
            Touch(
                "vllm.v1.worker.cpu_model_runner:CPUModelRunner",
                "replaced",
                fields=("sample_tokens", "input_batch", "discard_request_mask"),
            ),
            Touch("vllm.v1.worker.gpu_input_batch:InputBatch", "read", fields=("generators",)),
        ),
        tested_with=VLLM,
        reason="A seeded request whose prompt takes more than one step ends the engine: vLLM "
        "rewinds the random generator by an offset that CPU generators do not have.",
        upstream=NOT_FOUND
        + " for vLLM's CPU build; https://github.com/RBLN-SW/vllm-rbln/pull/1025 fixes the same "
        "fault in a fork",
        remove_when="vLLM rewinds only generators that have an offset.",
        setting="--engine-args worker_extension_cls=... replaces the worker extension.",
    ),
    Patch(
        name="top_p on CPUs",
        module="engine/patches/top_p.py",
        touches=(
            Touch(
                "vllm.v1.sample.ops.topk_topp_sampler:apply_top_k_top_p_pytorch",
                "replaced",
                parameters=("logits", "k", "p", "allow_cpu_sync"),
            ),
        ),
        tested_with=VLLM,
        reason="vLLM sorts the whole vocabulary for top_p in every step.",
        upstream=_PULL + "48913",
        remove_when="vLLM finds the nucleus without a full sort.",
        setting="--engine-args worker_extension_cls=... replaces the worker extension.",
    ),
    Patch(
        name="fork server",
        module="engine/cpu_fork/fork_server.py",
        touches=(
            Touch(
                "multiprocessing.forkserver:main",
                "read",
                # Later versions first read a secret from their parent, which a restart would lose.
                parameters=("listener_fd", "alive_r", "preload", "main_path", "sys_path"),
            ),
            Touch(
                "multiprocessing.forkserver:_forkserver",
                "read",
                fields=("ensure_running", "_forkserver_pid", "_forkserver_address"),
            ),
            Touch("sys:orig_argv", "read"),
        ),
        tested_with=PYTHON,
        reason="Python has no way to stop its fork server, nor to give it another environment: "
        "the preloaded module replaces its own program with execve while it is imported.",
        upstream="https://github.com/python/cpython/issues/81688",
        remove_when="vLLM's own fork server covers CPUs.",
        setting="--no-fork-engine",
    ),
    Patch(
        name="forked engine core",
        module="engine/cpu_fork/fork_server.py",
        touches=(
            Touch("vllm.v1.engine.utils:get_mp_context", "replaced", parameters=()),
            Touch(
                "vllm.v1.engine.utils:CoreEngineProcManager.__init__",
                "read",
                calls=("get_mp_context",),
            ),
        ),
        tested_with=VLLM,
        reason="The engine core takes over the fork server's imports instead of repeating them.",
        upstream=_PULL + "40331",
        remove_when="vLLM's own fork server covers CPUs.",
        setting="--no-fork-engine",
    ),
    Patch(
        name="forked worker",
        module="engine/cpu_fork/forked_worker.py",
        touches=(
            Touch("vllm.v1.executor.multiproc_executor:get_mp_context", "replaced", parameters=()),
            Touch(
                "vllm.v1.executor.multiproc_executor:WorkerProc",
                "replaced",
                fields=("make_worker_process", "worker_main"),
            ),
            Touch(
                "vllm.v1.executor.multiproc_executor:WorkerProc.make_worker_process",
                "replaced",
                calls=("get_mp_context", "worker_main"),
            ),
            # Its rules are repeated in `worker_environment`; the outcome is compared with vLLM's.
            Touch("vllm.utils.ompmultiprocessing:OMPProcessManager", "read"),
        ),
        tested_with=VLLM,
        reason="The worker takes over the engine core's imports instead of repeating them.",
        upstream=_PULL + "40331",
        remove_when="vLLM's own fork server covers CPUs.",
        setting="--no-fork-engine",
    ),
    Patch(
        name="concurrent accept",
        module="transport/concurrent_accept.py",
        touches=(
            Touch("grpc.aio._server:Server", "read", fields=("_server",)),
            Touch("grpc._cython.cygrpc:AioServer.is_running", "read", parameters=("self",)),
            Touch(
                "grpc._cython.cygrpc:AioServer._request_registered_call",
                "read",
                parameters=("self", "method"),
            ),
            Touch(
                "grpc._cython.cygrpc:_handle_rpc",
                "read",
                parameters=(
                    *("method_name", "method_resolver", "interceptors", "rpc_state", "loop"),
                    "concurrency_exceeded",
                ),
            ),
            Touch(
                "grpc._cython.cygrpc:_schedule_rpc_coro",
                "read",
                parameters=("rpc_coro", "rpc_state", "loop", "method_name"),
            ),
            Touch("grpc._cython.cygrpc:_RequestCallError", "read"),
        ),
        tested_with="grpcio 1.85.1",
        reason="grpc.aio accepts one call of a method at a time, and needs four iterations of the "
        "event loop for each; beside hundreds of streams new calls wait for seconds.",
        upstream="https://github.com/grpc/grpc/pull/43461",
        remove_when="grpc.aio accepts several calls in one iteration.",
        setting="--no-concurrent-accept",
    ),
    Patch(
        name="failed reads",
        module="transport/ended_calls.py",
        touches=(
            Touch(
                "grpc._cython.cygrpc:_receive_message",
                "replaced",
                parameters=("grpc_call_wrapper", "loop"),
            ),
            Touch(
                "grpc._cython.cygrpc:execute_batch",
                "read",
                parameters=("grpc_call_wrapper", "operations", "loop"),
            ),
            Touch(
                "grpc._cython.cygrpc:ReceiveMessageOperation",
                "read",
                fields=("message",),
            ),
            Touch("grpc._cython.cygrpc:ExecuteBatchError", "read"),
        ),
        tested_with="grpcio 1.85.1",
        reason="grpc.aio reports a message that grpc-core could not read as the end of the "
        "messages, so the log would have another status than the caller got.",
        upstream=NOT_FOUND + " (searched for _receive_message and ExecuteBatchError)",
        remove_when="ServicerContext.read raises when a message cannot be read.",
        setting="none: it changes only what is logged and counted.",
    ),
    Patch(
        name="status numbers",
        module="transport/status.py",
        touches=(Touch("grpc:StatusCode.OK", "read", fields=("value",)),),
        tested_with="grpcio 1.85.1",
        reason="grpc.StatusCode does not document that its value holds the number of the status.",
        upstream=NOT_FOUND + " (searched for StatusCode value number)",
        remove_when="grpcio has a public way from a StatusCode to its number.",
        setting="none: every error response needs the number.",
        required=True,
    ),
)

PATCHES = {patch.name: patch for patch in _PATCHES}
"""Every patch by its name."""

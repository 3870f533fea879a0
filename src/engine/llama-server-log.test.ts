import { describe, expect, test } from "vitest";
import { MIB } from "../core/units.ts";
import { ServerLog } from "./llama-server-log.ts";

function logOf(...lines: string[]): ServerLog {
  const log = new ServerLog();
  for (const line of lines) log.add(line);
  return log;
}

describe("the log of llama-server", () => {
  test("tells buffers by where they lie: pinned main memory is no VRAM", () => {
    const log = logOf(
      "0.01 I load_tensors: offloaded 29/37 layers to GPU",
      "0.01 I load_tensors:   CPU_Mapped model buffer size =   300.00 MiB",
      "0.01 I load_tensors:        CUDA0 model buffer size =  4000.50 MiB",
      "0.01 I llama_context:  CUDA_Host  output buffer size =     2.00 MiB",
      "0.01 I llama_kv_cache:      CUDA0 KV buffer size =   512.00 MiB",
      "0.01 I sched_reserve:      CUDA0 compute buffer size =   100.00 MiB",
      "0.01 I sched_reserve:  CUDA_Host compute buffer size =    10.00 MiB",
    );
    expect(log.memory).toEqual({
      model: { hostBytes: 300 * MIB, gpuBytes: 4000.5 * MIB },
      context: { hostBytes: 12 * MIB, gpuBytes: 612 * MIB },
    });
    expect(log).toMatchObject({ backend: "cuda", gpuLayers: 29 });
  });

  test("tells what each of several GPUs holds", () => {
    const log = logOf(
      "load_tensors:        CUDA0 model buffer size =  4000.00 MiB",
      "load_tensors:        CUDA1 model buffer size =  2000.00 MiB",
      "llama_kv_cache:      CUDA1 KV buffer size =   100.00 MiB",
      "sched_reserve:      CUDA0 compute buffer size =   300.00 MiB",
      "sched_reserve:      CUDA0 compute buffer size =    80.00 MiB",
    );
    expect(["CUDA0", "CUDA1", "CUDA10"].map((id) => log.bytesOn(id))).toEqual([4080 * MIB, 2100 * MIB, 0]);
  });

  test("counts a graph that is reserved again once, and every cache of a sliding-window model", () => {
    const log = logOf(
      "load_tensors:   CPU_Mapped model buffer size =     1.00 MiB",
      "llama_kv_cache:        CPU KV buffer size =     3.00 MiB",
      "llama_kv_cache:        CPU KV buffer size =     5.00 MiB",
      "sched_reserve:        CPU compute buffer size =    40.00 MiB",
      "sched_reserve:        CPU compute buffer size =    20.00 MiB",
    );
    expect(log.memory?.context.hostBytes).toBe(28 * MIB);
    expect(log.backend).toBe("cpu");
  });

  test("without weights is no measurement", () => {
    expect(logOf("srv  llama_server: listening on http://127.0.0.1:1").memory).toBeUndefined();
  });

  test("gives the most telling line as the reason", () => {
    const log = logOf(
      "E llama_model_load: error loading model: tensor 'blk.1' data is not within the file bounds",
      "E srv  llama_server: exiting due to model loading error",
    );
    expect(log.complaint).toBe("tensor 'blk.1' data is not within the file bounds");
    expect(log.ranOutOfMemory).toBe(false);
    const full = logOf(
      "E ggml_backend_cuda_buffer_type_alloc_buffer: allocating 9000.00 MiB on device 0: cudaMalloc failed: out of memory",
      "E llama_model_load: error loading model: unable to allocate CUDA0 buffer",
    );
    expect(full.ranOutOfMemory).toBe(true);
    expect(full.complaint).toMatch(/^out of memory/);
  });
});

/**
 * Sizes of the compute buffers for a scheduled graph. Follows ggml's graph allocator step by step (`ggml-alloc.c`):
 * best-fit over free blocks, results written over a source that nobody else reads, sources freed after their last
 * reader. Simulating it is what makes the sizes exact instead of a rule of thumb.
 */
import type { Tensor } from "./compute-graph.ts";

interface Block {
  offset: number;
  size: number;
}

interface Chunk {
  free: Block[];
  size: number;
}

const chunksMax = 16;
/** Room of a buffer that may grow. */
export const unlimitedBytes = 2 ** 52;

/** One device's buffer while it is being laid out. */
class Arena {
  readonly chunks: Chunk[] = [];
  readonly #alignment: number;
  readonly #chunkMax: number;

  constructor(alignment: number, chunkMax: number) {
    this.#alignment = alignment;
    this.#chunkMax = chunkMax;
  }

  get size(): number {
    let sum = 0;
    for (const chunk of this.chunks) sum += chunk.size;
    return sum;
  }

  align(bytes: number): number {
    return Math.ceil(bytes / this.#alignment) * this.#alignment;
  }

  allocate(bytes: number, tensor: Tensor): void {
    const size = this.align(bytes);
    let [chunkIndex, blockIndex] = this.#bestFit(size);
    if (blockIndex < 0) [chunkIndex, blockIndex] = this.#lastBlock(size);
    if (blockIndex < 0) {
      chunkIndex = this.chunks.length;
      blockIndex = 0;
      const room = chunkIndex === chunksMax - 1 ? unlimitedBytes : Math.max(size, this.#chunkMax);
      this.chunks.push({ free: [{ offset: 0, size: room }], size: 0 });
    }
    const chunk = this.chunks[chunkIndex]!;
    const block = chunk.free[blockIndex]!;
    tensor.chunk = chunkIndex;
    tensor.offset = block.offset;
    block.offset += size;
    block.size -= size;
    if (block.size === 0) chunk.free.splice(blockIndex, 1);
    if (tensor.offset + size > chunk.size) chunk.size = tensor.offset + size;
  }

  /** The smallest fitting gap, later ones first among equals; the open end of a chunk is no gap. */
  #bestFit(size: number): [number, number] {
    let found: [number, number] = [-1, -1];
    for (let c = 0; c < this.chunks.length; c++) {
      const { free } = this.chunks[c]!;
      let best = Number.POSITIVE_INFINITY;
      for (let i = 0; i < free.length - 1; i++) {
        const room = free[i]!.size;
        if (room >= size && room <= best) {
          found = [c, i];
          best = room;
        }
      }
    }
    return found;
  }

  /** The open end that grows its chunk least. */
  #lastBlock(size: number): [number, number] {
    let found: [number, number] = [-1, -1];
    let best = Number.NEGATIVE_INFINITY;
    for (let c = 0; c < this.chunks.length; c++) {
      const chunk = this.chunks[c]!;
      const block = chunk.free[chunk.free.length - 1];
      if (block === undefined || block.size < size) continue;
      const spare = chunk.size - block.offset - size;
      const better = (best < 0 && spare > best) || (spare >= 0 && spare < best);
      if (!better) continue;
      found = [c, chunk.free.length - 1];
      best = spare;
    }
    return found;
  }

  release(chunkIndex: number, offset: number, bytes: number): void {
    const size = this.align(bytes);
    const { free } = this.chunks[chunkIndex]!;
    for (let i = 0; i < free.length; i++) {
      const block = free[i]!;
      if (block.offset + block.size === offset) {
        block.size += size;
        const next = free[i + 1];
        if (next !== undefined && block.offset + block.size === next.offset) {
          block.size += next.size;
          free.splice(i + 1, 1);
        }
        return;
      }
      if (offset + size === block.offset) {
        block.offset = offset;
        block.size += size;
        const previous = free[i - 1];
        if (previous !== undefined && previous.offset + previous.size === block.offset) {
          previous.size += block.size;
          free.splice(i, 1);
        }
        return;
      }
    }
    let at = 0;
    while (at < free.length && free[at]!.offset < offset) at++;
    free.splice(at, 0, { offset, size });
  }
}

/** How a device's buffers are cut. */
export interface BufferKind {
  alignment: number;
  /** Largest single buffer; longer scratch is cut into several. */
  chunkMax: number;
  /** Whether kernels here ask for scratch behind their result. */
  scratch: boolean;
}

export interface Scheduled {
  leaves: readonly Tensor[];
  nodes: readonly Tensor[];
}

/** Differences in place below this count as none; slivers that pile up from block to block stay below it. */
const stateGrain = 65_536;

/** Where everything lies, as text: equal states lay out equal blocks equally. */
function stateOf(arenas: readonly Arena[]): string {
  let state = "";
  for (const { chunks } of arenas) {
    for (const { free, size } of chunks) {
      state += `${Math.round(size / stateGrain)}:`;
      for (const block of free) {
        if (block.size < stateGrain) continue;
        state += `${Math.round(block.offset / stateGrain)}+${Math.round(block.size / stateGrain)},`;
      }
    }
    state += ";";
  }
  return state;
}

export interface AllocatedSizes {
  /** Bytes per device. */
  sizes: number[];
  /** Largest single tensor per device. */
  largest: number[];
  /** State after each tensor that is marked as the end of a block. */
  states: string[];
}

/** Buffer bytes per device, devices numbered as in `kinds`. */
export function allocateGraph(graph: Scheduled, kinds: readonly BufferKind[]): AllocatedSizes {
  const arenas = kinds.map((kind) => new Arena(kind.alignment, kind.chunkMax));
  const largest = kinds.map(() => 0);
  const states: string[] = [];
  const needs = (tensor: Tensor, device: number) => tensor.bytes + (kinds[device]!.scratch ? tensor.scratchBytes : 0);

  const place = (tensor: Tensor) => {
    if (tensor.allocated || tensor.viewOf !== undefined || tensor.external) return;
    tensor.allocated = true;
    if (tensor.inPlace && overwriteSource(tensor)) return;
    const bytes = needs(tensor, tensor.device);
    tensor.home = tensor.device;
    if (bytes > largest[tensor.home]!) largest[tensor.home] = bytes;
    arenas[tensor.home]!.allocate(bytes, tensor);
  };

  const overwriteSource = (tensor: Tensor): boolean => {
    for (const source of tensor.sources) {
      const free = source.allocated && !source.kept && source.children === 1 && source.views === 0;
      if (!free || !sameLayout(tensor, source)) continue;
      tensor.home = source.home;
      tensor.chunk = source.chunk;
      tensor.offset = source.offset;
      source.allocated = false;
      const left = needs(source, source.home);
      const used = arenas[tensor.home]!.align(tensor.bytes);
      if (arenas[tensor.home]!.align(left) > used) {
        arenas[tensor.home]!.release(tensor.chunk, tensor.offset + used, arenas[tensor.home]!.align(left) - used);
      }
      return true;
    }
    return false;
  };

  const release = (tensor: Tensor) => {
    if (!tensor.allocated || tensor.kept) return;
    arenas[tensor.home]!.release(tensor.chunk, tensor.offset, needs(tensor, tensor.home));
    tensor.allocated = false;
  };

  for (const leaf of graph.leaves) place(leaf);
  for (const node of graph.nodes) {
    if (node.viewOf !== undefined && node.op !== "none") node.viewOf.views++;
    for (const source of node.sources) source.children++;
  }
  for (const node of graph.nodes) {
    for (const source of node.sources) place(source);
    place(node);
    for (const source of node.sources) {
      source.children--;
      if (source.children > 0 || source.views > 0) continue;
      if (source.viewOf === undefined) release(source);
      else {
        const base = source.viewOf;
        base.views--;
        if (base.views === 0 && base.children === 0) release(base);
      }
    }
    if (node.endsBlock) states.push(stateOf(arenas));
  }
  return { sizes: arenas.map((arena) => arena.size), largest, states };
}

function sameLayout(a: Tensor, b: Tensor): boolean {
  return (
    a.ne0 === b.ne0 &&
    a.ne1 === b.ne1 &&
    a.ne2 === b.ne2 &&
    a.ne3 === b.ne3 &&
    a.elementBytes === b.elementBytes &&
    b.dense
  );
}

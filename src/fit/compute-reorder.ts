/**
 * What backends do to a split before it is laid out: Vulkan moves independent nodes together so that they overlap, CUDA
 * and ROCm keep the inputs of fused steps alive. Both change what is alive at the same time. Follows
 * `ggml_vk_graph_optimize` and `ggml_backend_cuda_graph_optimize`.
 */
import { isView, type Op, type Tensor } from "./compute-graph.ts";
import type { Backend, BuildFamily } from "./types.ts";

/** A split in its final order, with tensors that must outlive a node. */
export interface Arranged {
  nodes: Tensor[];
  /** Kept until the node has run. */
  kept: Map<Tensor, Set<Tensor>>;
}

export function arrange(nodes: Tensor[], backend: Backend, family: BuildFamily): Arranged {
  const kept = new Map<Tensor, Set<Tensor>>();
  if (backend === "vulkan") return { nodes: new VulkanOrder(nodes, kept, family).run(), kept };
  if (backend === "cuda" || backend === "rocm") keepWeightedExperts(nodes, kept);
  return { nodes, kept };
}

function keep(kept: Map<Tensor, Set<Tensor>>, tensor: Tensor, until: Tensor): void {
  const set = kept.get(until);
  if (set === undefined) kept.set(until, new Set([tensor]));
  else set.add(tensor);
}

/** The weighted sum of experts is one kernel, which reads the unweighted results to the end. */
function keepWeightedExperts(nodes: readonly Tensor[], kept: Map<Tensor, Set<Tensor>>): void {
  for (let index = 0; index < nodes.length; index++) {
    const weighted = nodes[index]!;
    const [results, weights] = weighted.sources;
    const used = weighted.ne1;
    if (weighted.op !== "mul" || results === undefined || weights === undefined) continue;
    if (weights.ne0 !== 1 || weights.ne1 !== used || weights.ne2 !== weighted.ne2 || used < 2 || weighted.ne2 < 2)
      continue;
    const last = nodes[index + 2 * used - 1];
    if (last?.op !== "add" || nodes[index + 1]?.op !== "view") continue;
    keep(kept, results, last);
    keep(kept, weights, last);
    index += 2 * used - 1;
  }
}

/** Nodes looked ahead of the first one not yet placed. */
const lookAhead = 20;
const partnerReach = 15;

const routerPatterns: readonly (readonly Op[])[] = [
  ["softmax", "reshape", "sort", "view", "rows", "reshape", "sumRows", "clamp", "divide", "reshape"],
  ["unary", "reshape", "add", "sort", "view", "rows", "reshape", "sumRows", "clamp", "divide", "reshape"],
  ["softmax", "reshape", "sort", "view", "rows"],
  ["sort", "view", "rows", "reshape", "softmax", "reshape"],
];

/** Fusions that servers of mid-2026 did not look for yet. */
const youngPatterns: readonly (readonly Op[])[] = [
  ["rmsNorm", "mul", "add", "mul"],
  ["rmsNorm", "mul", "add"],
];

const fusedPatterns: readonly (readonly Op[])[] = [
  ["rmsNorm", "mul", "rope", "view", "store"],
  ["rmsNorm", "view", "store"],
  ["rope", "view", "store"],
];

/** Pairs that may follow each other although the second reads the first. */
const adjacentPairs: ReadonlySet<string> = new Set([
  "matmul add",
  "matmulExperts addExperts",
  "matmulExperts mul",
  "add add",
  "convolution add",
  "convolution unary",
]);

class VulkanOrder {
  readonly #nodes: readonly Tensor[];
  readonly #kept: Map<Tensor, Set<Tensor>>;
  readonly #used: Uint8Array;
  readonly #placed = new Set<Tensor>();
  readonly #order: Tensor[] = [];
  readonly #patterns: readonly (readonly Op[])[];
  /** Whether fusion partners further down are brought along. */
  readonly #pulls: boolean;
  #first = 0;

  constructor(nodes: readonly Tensor[], kept: Map<Tensor, Set<Tensor>>, family: BuildFamily) {
    this.#nodes = nodes;
    this.#kept = kept;
    this.#pulls = family === "node-llama-cpp";
    this.#patterns = this.#pulls ? [...youngPatterns, ...fusedPatterns] : fusedPatterns;
    this.#used = new Uint8Array(nodes.length);
  }

  run(): Tensor[] {
    while (this.#first < this.#nodes.length) {
      if (routerPatterns.some((pattern) => this.#keepRouter(pattern))) continue;
      if (this.#patterns.some((pattern) => this.#keepPattern(pattern))) continue;
      this.#placeSet();
    }
    return this.#order;
  }

  #matches(pattern: readonly Op[], start: number): boolean {
    if (start + pattern.length > this.#nodes.length) return false;
    for (let index = 0; index < pattern.length; index++) {
      if (this.#nodes[start + index]!.op !== pattern[index] || this.#used[start + index]) return false;
    }
    return true;
  }

  #place(index: number): void {
    const node = this.#nodes[index]!;
    this.#order.push(node);
    this.#placed.add(node);
    this.#used[index] = 1;
  }

  #advance(): void {
    while (this.#first < this.#nodes.length && this.#used[this.#first]) this.#first++;
  }

  #keepPattern(pattern: readonly Op[]): boolean {
    if (!this.#matches(pattern, this.#first)) return false;
    const start = this.#first;
    for (let index = 0; index < pattern.length; index++) this.#place(start + index);
    this.#advance();
    return true;
  }

  /** The router's choice is one kernel: what it reads stays until its result is there. */
  #keepRouter(pattern: readonly Op[]): boolean {
    if (!this.#matches(pattern, this.#first)) return false;
    let last = this.#first + pattern.length - 1;
    if (this.#nodes[last + 1]?.op === "scale") last++;
    const inner = new Set<Tensor>();
    for (let index = 0; index < pattern.length; index++) {
      const node = this.#nodes[this.#first + index]!;
      for (const source of node.sources) {
        if (inner.has(source)) continue;
        inner.add(source);
        keep(this.#kept, source, this.#nodes[last]!);
      }
      inner.add(node);
    }
    return this.#keepPattern(pattern);
  }

  /** The next node and those after it that need not wait. */
  #placeSet(): void {
    const set = [this.#first];
    const end = Math.min(this.#first + lookAhead, this.#nodes.length);
    for (let index = this.#first + 1; index < end; index++) {
      if (this.#used[index] || isView(this.#nodes[index]!) || this.#startsPattern(index) || !this.#isFree(index, set))
        continue;
      set.push(index);
      if (this.#pulls) this.#pullPartners(index, set);
    }
    if (this.#nodes[set[set.length - 1]!]!.op !== "add") this.#addViews(set, end);
    for (const index of set) this.#place(index);
    this.#advance();
  }

  #startsPattern(index: number): boolean {
    return (
      routerPatterns.some((pattern) => this.#matches(pattern, index)) ||
      this.#patterns.some((pattern) => this.#matches(pattern, index))
    );
  }

  /** True when nothing before `index` that is still to run must come first. */
  #isFree(index: number, set: readonly number[]): boolean {
    const node = this.#nodes[index]!;
    const last = set[set.length - 1]!;
    for (let before = this.#first; before < index; before++) {
      if (this.#used[before] || !dependsOn(node, this.#nodes[before]!)) continue;
      const other = this.#nodes[before]!;
      const near = before === last;
      const pair = `${other.op} ${node.op}`;
      if (near && (pair === "rmsNorm mul" || pair === "unary mul") && this.#onlyViewsBetween(before + 1, index))
        continue;
      if (near && index === before + 1 && adjacentPairs.has(pair)) continue;
      return false;
    }
    return true;
  }

  #onlyViewsBetween(from: number, to: number): boolean {
    for (let index = from; index < to; index++) {
      if (!this.#used[index] && !isView(this.#nodes[index]!)) return false;
    }
    return true;
  }

  /** A node's fusion partners come along with it. */
  #pullPartners(index: number, set: number[]): void {
    const node = this.#nodes[index]!;
    const previous = index > 0 ? this.#nodes[index - 1]! : undefined;
    let tail = index;
    if (node.op === "mul" && previous?.op === "rmsNorm") {
      tail = this.#pull(index, set, (other) => other.op === "rope" && other.sources[0] === node) ?? index;
    }
    if (this.#nodes[tail]!.op === "rope" || this.#nodes[tail]!.op === "rmsNorm") this.#pullStore(tail, set);
    const ready = (other: Tensor | undefined) => other === undefined || other.op === "none" || this.#placed.has(other);
    if (node.op === "addExperts" && previous?.op === "matmulExperts") {
      this.#pull(index, set, (other) => other.op === "mul" && other.sources[0] === node && ready(other.sources[1]));
    }
    if (node.op === "add" && previous?.op === "matmul") {
      this.#pull(index, set, (other) => other.op === "add" && other.sources[0] === node && ready(other.sources[1]));
    }
    if (node.op === "add" && previous?.op === "convolution") {
      this.#pull(index, set, (other) => other.op === "unary" && other.sources[0] === node);
    }
    if (node.op === "unary") {
      this.#pull(index, set, (other) => {
        const [first, second] = other.sources;
        if (other.op !== "mul" || (first !== node && second !== node)) return false;
        const factor = first === node ? second : first;
        return ready(factor) && factor !== undefined && fusesWithActivation(node, factor, first === node);
      });
    }
  }

  #pull(index: number, set: number[], fits: (node: Tensor) => boolean): number | undefined {
    const end = Math.min(index + partnerReach, this.#nodes.length);
    for (let other = index + 1; other < end; other++) {
      if (!fits(this.#nodes[other]!)) continue;
      set.push(other);
      this.#used[other] = 1;
      return other;
    }
    return undefined;
  }

  /** Rope or norm, the view of its result and the cache write behind them become neighbours. */
  #pullStore(index: number, set: number[]): void {
    const node = this.#nodes[index]!;
    const end = Math.min(index + partnerReach, this.#nodes.length);
    let view = -1;
    for (let other = index + 1; other < end; other++) {
      if (this.#used[other]) continue;
      const candidate = this.#nodes[other]!;
      if (view < 0) {
        if (candidate.op === "view" && candidate.sources[0] === node) view = other;
        continue;
      }
      if (candidate.op !== "store" || candidate.sources[0] !== this.#nodes[view]) continue;
      if (node.uses === 1 && this.#nodes[view]!.uses === 1 && this.#canPull(index, view, other)) {
        set.push(view, other);
        this.#used[view] = 1;
        this.#used[other] = 1;
      }
      return;
    }
  }

  #canPull(from: number, view: number, store: number): boolean {
    for (let between = from + 1; between < store; between++) {
      const other = this.#nodes[between]!;
      if (!this.#used[between] && between !== view && !isView(other) && dependsOn(this.#nodes[store]!, other))
        return false;
    }
    return true;
  }

  #addViews(set: number[], end: number): void {
    for (let index = this.#first + 1; index < end; index++) {
      const node = this.#nodes[index]!;
      if (this.#used[index] || !isView(node)) continue;
      let ready = true;
      for (let before = this.#first; before < index && ready; before++) {
        ready = this.#used[before] === 1 || set.includes(before) || !dependsOn(node, this.#nodes[before]!);
      }
      if (ready) set.push(index);
    }
  }
}

/** Reads it, or touches the same bytes. */
function dependsOn(node: Tensor, before: Tensor): boolean {
  const real = !isView(node) && !isView(before);
  const beforeBase = before.viewOf ?? before;
  const nodeBase = node.viewOf ?? node;
  for (const source of node.sources) {
    if (source === before) return true;
    if (real && (source.viewOf ?? source) === beforeBase) return true;
  }
  if (real) {
    for (const source of before.sources) if ((source.viewOf ?? source) === nodeBase) return true;
  }
  return nodeBase === beforeBase;
}

function fusesWithActivation(activation: Tensor, factor: Tensor, activationFirst: boolean): boolean {
  if (!factor.dense || !activation.sources[0]!.dense) return false;
  return activationFirst ? repeats(factor, activation) : repeats(activation, factor);
}

/** Whether `small` can be laid out over `large` a whole number of times. */
function repeats(small: Tensor, large: Tensor): boolean {
  return (
    large.ne0 % small.ne0 === 0 &&
    large.ne1 % small.ne1 === 0 &&
    large.ne2 % small.ne2 === 0 &&
    large.ne3 % small.ne3 === 0
  );
}

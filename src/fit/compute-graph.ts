/**
 * A forward pass as a list of tensors: shapes and sources only, no data. Nodes come in the order in which llama.cpp
 * computes them, which decides what is alive at the same time, and so the size of the compute buffers.
 */

/** What a node does, as far as memory, placement and the backends' reordering care. */
export type Op =
  // New looks at another tensor's bytes.
  | "view"
  | "reshape"
  // May be written over their first fitting source (`ggml_op_can_inplace`).
  | "add"
  | "addExperts"
  | "mul"
  | "scale"
  | "unary"
  | "softmax"
  | "rmsNorm"
  | "rope"
  | "clamp"
  | "divide"
  | "subtract"
  | "square"
  // Always get bytes of their own.
  | "matmul"
  | "matmulExperts"
  | "attention"
  | "rows"
  | "store"
  | "sort"
  | "sumRows"
  | "convolution"
  | "other"
  // A weight, a cache, an input: nothing to compute.
  | "none";

/** Ops whose result may take over a source's bytes. */
const inPlaceOps: ReadonlySet<Op> = new Set<Op>([
  "add",
  "addExperts",
  "mul",
  "scale",
  "unary",
  "softmax",
  "rmsNorm",
  "rope",
  "clamp",
  "divide",
  "subtract",
  "square",
]);

export type Role = "node" | "weight" | "cache" | "input";

export class Tensor {
  readonly op: Op;
  /** Whether it may be written over a source. */
  readonly inPlace: boolean;
  readonly role: Role;
  /** Has bytes already, outside the compute buffers. */
  readonly external: boolean;
  readonly ne0: number;
  readonly ne1: number;
  readonly ne2: number;
  readonly ne3: number;
  /** Bytes per element; quantized weights count per tensor instead. */
  readonly elementBytes: number;
  /** Bytes of its layout; for a view, those it spans. */
  readonly bytes: number;
  sources: Tensor[];
  /** The tensor whose bytes a view looks at, never a view itself. */
  readonly viewOf: Tensor | undefined;
  /** False for views with gaps. */
  readonly dense: boolean;
  /** Device of a weight or cache; of a node once scheduled. */
  device: number;
  /** Scratch a GPU kernel wants behind the result. */
  scratchBytes = 0;
  visited = false;
  /** Nodes that read it. */
  uses = 0;
  // Allocation state.
  children = 0;
  views = 0;
  allocated = false;
  /** Device whose buffer holds it, which an in-place node inherits. */
  home = -1;
  chunk = 0;
  offset = 0;
  /** Kept to the end: graph outputs, and copies that a pipeline may overwrite. */
  kept = false;
  /** The last node of a block. */
  endsBlock = false;

  constructor(
    op: Op,
    role: Role,
    shape: readonly [number, number, number, number],
    elementBytes: number,
    bytes: number,
    sources: Tensor[],
    viewOf: Tensor | undefined,
    dense: boolean,
    device: number,
  ) {
    this.op = op;
    this.inPlace = inPlaceOps.has(op);
    this.role = role;
    this.external = role === "weight" || role === "cache";
    this.ne0 = shape[0];
    this.ne1 = shape[1];
    this.ne2 = shape[2];
    this.ne3 = shape[3];
    this.elementBytes = elementBytes;
    this.bytes = bytes;
    this.sources = sources;
    this.viewOf = viewOf;
    this.dense = dense;
    this.device = device;
  }
}

/** Not decided yet. */
export const UNASSIGNED = -1;

/** Nothing to compute: only another look at bytes. */
export function isView(node: Tensor): boolean {
  return node.op === "view" || node.op === "reshape";
}

const f32 = 4;

/** Collects nodes in the order of ggml's graph: sources before users, first visit wins. */
export class Graph {
  readonly nodes: Tensor[] = [];
  /** Inputs, in the order of their first use. */
  readonly leaves: Tensor[] = [];

  weight(device: number, bytes: number): Tensor {
    return new Tensor("none", "weight", [bytes, 1, 1, 1], 1, bytes, [], undefined, true, device);
  }

  cache(device: number, bytes: number): Tensor {
    return new Tensor("none", "cache", [bytes, 1, 1, 1], 1, bytes, [], undefined, true, device);
  }

  input(elementBytes: number, ne0: number, ne1 = 1, ne2 = 1, ne3 = 1): Tensor {
    const bytes = elementBytes * ne0 * ne1 * ne2 * ne3;
    return new Tensor("none", "input", [ne0, ne1, ne2, ne3], elementBytes, bytes, [], undefined, true, UNASSIGNED);
  }

  /** A node with bytes of its own. */
  node(op: Op, sources: Tensor[], ne0: number, ne1 = 1, ne2 = 1, ne3 = 1, elementBytes = f32): Tensor {
    const bytes = elementBytes * ne0 * ne1 * ne2 * ne3;
    return new Tensor(op, "node", [ne0, ne1, ne2, ne3], elementBytes, bytes, sources, undefined, true, UNASSIGNED);
  }

  /** A node shaped like its first source, which it may be written over. */
  elementwise(op: Op, first: Tensor, ...others: Tensor[]): Tensor {
    const { ne0, ne1, ne2, ne3, elementBytes } = first;
    return this.node(op, [first, ...others], ne0, ne1, ne2, ne3, elementBytes);
  }

  add(first: Tensor, second: Tensor): Tensor {
    return this.elementwise("add", first, second);
  }

  /** Adds the biases of the chosen experts. */
  addExperts(first: Tensor, biases: Tensor, chosen: Tensor): Tensor {
    return this.elementwise("addExperts", first, biases, chosen);
  }

  mul(first: Tensor, second: Tensor): Tensor {
    return this.elementwise("mul", first, second);
  }

  scale(input: Tensor): Tensor {
    return this.elementwise("scale", input);
  }

  /** An activation function. */
  unary(input: Tensor): Tensor {
    return this.elementwise("unary", input);
  }

  softmax(input: Tensor, ...others: Tensor[]): Tensor {
    return this.elementwise("softmax", input, ...others);
  }

  rmsNorm(input: Tensor): Tensor {
    return this.elementwise("rmsNorm", input);
  }

  matmul(weight: Tensor, input: Tensor, rows: number): Tensor {
    return this.node("matmul", [weight, input], rows, input.ne1, input.ne2, input.ne3);
  }

  /** A view of `source`; `spans` when it does not cover its elements back to back. */
  view(source: Tensor, ne0: number, ne1 = 1, ne2 = 1, ne3 = 1, spans?: number): Tensor {
    const bytes = spans ?? source.elementBytes * ne0 * ne1 * ne2 * ne3;
    const base = source.viewOf ?? source;
    const dense = spans === undefined && source.dense;
    return new Tensor(
      "view",
      "node",
      [ne0, ne1, ne2, ne3],
      source.elementBytes,
      bytes,
      [source],
      base,
      dense,
      UNASSIGNED,
    );
  }

  /** Writes `sources` into a cache: the result is a view of it. */
  store(cache: Tensor, ...sources: Tensor[]): Tensor {
    const shape: [number, number, number, number] = [cache.ne0, 1, 1, 1];
    return new Tensor("store", "node", shape, 1, cache.bytes, [...sources, cache], cache, true, UNASSIGNED);
  }

  /** Appends `tensor` and everything it needs that is not in the graph yet. */
  expand(tensor: Tensor): void {
    if (tensor.visited) return;
    tensor.visited = true;
    for (const source of tensor.sources) {
      this.expand(source);
      source.uses++;
    }
    if (tensor.op === "none") {
      if (!tensor.external) this.leaves.push(tensor);
    } else this.nodes.push(tensor);
  }
}

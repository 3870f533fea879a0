/**
 * Who computes which node, and what must be copied between devices for it. Follows ggml's scheduler
 * (`ggml_backend_sched_split_graph`): nodes run where their weights are; weights on the host are lent to the first GPU
 * for large batches; everything in between joins its neighbours; a change of device starts a split, whose inputs are
 * copied in at its start.
 */
import type { Scheduled } from "./compute-allocate.ts";
import { type Graph, isView, Tensor, UNASSIGNED } from "./compute-graph.ts";
import { type Arranged, arrange } from "./compute-reorder.ts";
import type { Backend, BuildFamily } from "./types.ts";

/** Rows of a batch from which a GPU borrows host weights instead of leaving the work to the CPU. */
export const borrowRowsMin = 32;

/** Copies kept when several GPUs work on successive micro-batches at once. */
export const pipelineCopies = 4;

export interface ScheduleOptions {
  /** Device number of the host: behind the GPUs. */
  host: number;
  /** False when a server is told to leave host layers to the CPU. */
  borrowWeights: boolean;
  pipelined: boolean;
  backend: Backend;
  family: BuildFamily;
}

export function scheduleGraph(graph: Graph, options: ScheduleOptions): Scheduled {
  const { host } = options;
  for (const leaf of graph.leaves) leaf.device = host;
  if (host === 0) {
    for (const node of graph.nodes) node.device = 0;
    return { leaves: graph.leaves, nodes: graph.nodes };
  }
  for (const node of graph.nodes) {
    if (node.device === UNASSIGNED) node.device = deviceFromWeights(node, options);
  }
  joinNeighbours(graph.nodes, host);
  settleViews(graph.nodes);
  return splitGraph(graph, options);
}

function deviceFromWeights(node: Tensor, { host, borrowWeights }: ScheduleOptions): number {
  if (node.viewOf?.external) return node.viewOf.device;
  // Too small to decide by: rope's factors and attention's sinks.
  if (node.op === "rope" || node.op === "attention") return UNASSIGNED;
  for (const source of node.sources) {
    if (source.role !== "weight") continue;
    return source.device === host && borrowWeights && batchRows(node) >= borrowRowsMin ? 0 : source.device;
  }
  return UNASSIGNED;
}

function batchRows(node: Tensor): number {
  switch (node.op) {
    case "rows":
      return 0;
    case "matmul":
      return node.ne1;
    case "matmulExperts":
    case "rope":
      return node.ne2;
    default:
      return node.ne1 * node.ne2 * node.ne3;
  }
}

/** Undecided nodes follow their neighbours: GPU ones first, downwards and upwards, then whoever is left. */
function joinNeighbours(nodes: readonly Tensor[], host: number): void {
  for (const gpusOnly of [true, false]) {
    spread(nodes, gpusOnly, host, false);
    spread(nodes, gpusOnly, host, true);
  }
}

function spread(nodes: readonly Tensor[], gpusOnly: boolean, host: number, upwards: boolean): void {
  let current = UNASSIGNED;
  for (let step = 0; step < nodes.length; step++) {
    const node = nodes[upwards ? nodes.length - 1 - step : step]!;
    if (isView(node)) continue;
    if (node.device === UNASSIGNED) node.device = current;
    else current = gpusOnly && node.device === host ? UNASSIGNED : node.device;
  }
}

function settleViews(nodes: readonly Tensor[]): void {
  for (const node of nodes) {
    if (node.viewOf !== undefined && node.device === UNASSIGNED) node.device = node.viewOf.device;
    for (const source of node.sources) {
      if (source.device === UNASSIGNED) source.device = source.viewOf?.device ?? node.device;
    }
  }
}

interface Split {
  device: number;
  inputs: Tensor[];
  nodes: Tensor[];
}

function splitGraph(graph: Graph, { host, pipelined, backend, family }: ScheduleOptions): Scheduled {
  const splits: Split[] = [];
  const leaves: Tensor[] = [];
  const copies = Array.from({ length: host + 1 }, () => new Map<Tensor, Tensor>());
  let split: Split | undefined;
  for (const node of graph.nodes) {
    if (isView(node)) {
      (split?.nodes ?? leadingNodes(splits)).push(node);
      continue;
    }
    if (split === undefined || node.device !== split.device || mustSplit(node, split)) {
      split = nextSplit(splits, node.device);
    }
    split.nodes.push(node);
    const current = split;
    node.sources = node.sources.map((source) => {
      if (source.device === current.device) return source;
      const known = copies[current.device]!.get(source);
      if (known !== undefined) return known;
      const copy = copyOf(source, current.device);
      copies[current.device]!.set(source, copy);
      current.inputs.push(source);
      if (pipelined) leaves.push(...keptCopies(copy));
      return copy;
    });
  }
  const nodes: Tensor[] = [];
  for (const one of splits) {
    for (const input of one.inputs) {
      nodes.push(dependency(input), copies[one.device]!.get(input)!);
    }
    appendArranged(nodes, one.device === host ? { nodes: one.nodes, kept: none } : arrange(one.nodes, backend, family));
  }
  if (pipelined) {
    const inputs = graph.leaves.flatMap((leaf) => (leaf.uses === 0 ? [] : keptCopies(leaf)));
    return { leaves: [...inputs, ...leaves, ...graph.leaves], nodes };
  }
  return { leaves: graph.leaves, nodes };
}

const none: Arranged["kept"] = new Map();

/** Nodes in the backend's order; what it keeps alive gets one more reader. */
function appendArranged(nodes: Tensor[], { nodes: ordered, kept }: Arranged): void {
  for (const node of ordered) {
    nodes.push(node);
    for (const tensor of kept.get(node) ?? []) nodes.push(dependency(tensor));
  }
}

/** Views before the first computed node belong to the first split, whose device is not known yet. */
function leadingNodes(splits: Split[]): Tensor[] {
  if (splits.length === 0) splits.push({ device: UNASSIGNED, inputs: [], nodes: [] });
  return splits[0]!.nodes;
}

function nextSplit(splits: Split[], device: number): Split {
  const first = splits[0];
  if (first !== undefined && first.device === UNASSIGNED) {
    first.device = device;
    return first;
  }
  const split = { device, inputs: [], nodes: [] };
  splits.push(split);
  return split;
}

/** Another borrowed weight starts a new split, so that the one before can be dropped. */
function mustSplit(node: Tensor, split: Split): boolean {
  return (
    split.inputs.length > 0 && node.sources.some((source) => source.role === "weight" && source.device !== split.device)
  );
}

function copyOf(source: Tensor, device: number): Tensor {
  const shape: [number, number, number, number] = [source.ne0, source.ne1, source.ne2, source.ne3];
  const { elementBytes, bytes, dense } = source;
  return new Tensor("none", "node", shape, elementBytes, bytes, [], undefined, dense, device);
}

/** Keeps a source alive until its copy is made. */
function dependency(input: Tensor): Tensor {
  const shape: [number, number, number, number] = [input.ne0, input.ne1, input.ne2, input.ne3];
  const base = input.viewOf ?? input;
  return new Tensor("none", "node", shape, input.elementBytes, input.bytes, [input], base, true, input.device);
}

function keptCopies(tensor: Tensor): Tensor[] {
  const list = [tensor];
  while (list.length < pipelineCopies) list.push(copyOf(tensor, tensor.device));
  for (const one of list) one.kept = true;
  return list;
}

/**
 * Blocks that stand for all of them. Where a round of blocks repeats, the allocator soon comes back to the same state
 * after each round; more rounds then change nothing. Rounds are left out on trial, and the layout checks that its state
 * had settled.
 */
import { modelWeights } from "./compute-pass.ts";
import { graphTraitsOf } from "./compute-traits.ts";
import type { WeightTable } from "./memory-weights.ts";
import { HOST, type Placement } from "./placement.ts";
import type { ModelSpec } from "./types.ts";

const roundsKept = 2;

export interface BlockKinds {
  /** One number per block of the main model: equal for blocks with equal graphs and places. */
  sequence: number[];
  /** What a graph depends on besides its blocks: where the output head is, and the weights if any are lent. */
  head: string;
}

export interface ChosenBlocks {
  blocks: number[];
  /** Pairs of places in `blocks` after which the state must be the same for the choice to be good. */
  settled: [number, number][];
}

const known = new WeakMap<ModelSpec, Int32Array>();

export function blockKinds(model: ModelSpec, placement: Placement, weights: WeightTable): BlockKinds {
  const shapes = shapeKindsOf(model);
  const sequence: number[] = [];
  for (let block = 0; block < model.layerCount; block++) sequence.push(placedKind(shapes[block]!, placement, block));
  const lends = placement.gpuCount > 0 && (placement.blocks.includes(HOST) || placement.hostExperts.includes(1));
  return { sequence, head: `${placement.output} ${lends ? weights.totalBytes : 0}` };
}

/**
 * Keeps two repetitions of what repeats more often; rounds are multiples of `unit` shortest ones. The last block, which
 * cuts down to the wanted rows, always stays.
 */
export function chooseBlocks(sequence: readonly number[], unit: number): ChosenBlocks {
  const blocks: number[] = [];
  const settled: [number, number][] = [];
  const last = sequence.length - 1;
  for (let block = 0; block < last; block++) {
    blocks.push(block);
    const length = unit * repeatedRound(sequence, blocks, unit * roundsKept + unit);
    if (length === 0) continue;
    blocks.length -= length;
    while (settled.length > 0 && settled[settled.length - 1]![1] >= blocks.length) settled.pop();
    settled.push([blocks.length - 1 - length, blocks.length - 1]);
  }
  blocks.push(last);
  return { blocks, settled };
}

/** Length of the shortest round, at least two blocks, that `blocks` ends with `times` times; 0 when there is none. */
function repeatedRound(sequence: readonly number[], blocks: readonly number[], times: number): number {
  const end = blocks.length;
  for (let length = 2; length * times <= end; length++) {
    let same = true;
    for (let back = 1; same && back <= length * (times - 1); back++) {
      same = sequence[blocks[end - back]!] === sequence[blocks[end - back - length]!];
    }
    if (same) return length;
  }
  return 0;
}

function shapeKindsOf(model: ModelSpec): Int32Array {
  let kinds = known.get(model);
  if (kinds === undefined) {
    kinds = shapeKinds(model);
    known.set(model, kinds);
  }
  return kinds;
}

/** Kind of each block by its shape alone. */
function shapeKinds(model: ModelSpec): Int32Array {
  const { blocks } = modelWeights(model);
  const rope = graphTraitsOf(model.architecture).rope;
  const numbers = new Map<string, number>();
  const shapes = new Int32Array(model.layerCount);
  for (let block = 0; block < model.layerCount; block++) {
    const names = [...blocks[block]!].map(([name, { dims }]) => `${name}:${dims.join("x")}`).sort();
    const turn = rope === "notEveryFourth" ? block % 4 === 3 : false;
    shapes[block] = numberOf(numbers, JSON.stringify([model.layers[block], turn, names]));
  }
  return shapes;
}

function placedKind(shape: number, placement: Placement, block: number): number {
  return (shape * 64 + placement.blocks[block]! + 1) * 2 + placement.hostExperts[block]!;
}

function numberOf(numbers: Map<string, number>, key: string): number {
  let number = numbers.get(key);
  if (number === undefined) {
    number = numbers.size;
    numbers.set(key, number);
  }
  return number;
}

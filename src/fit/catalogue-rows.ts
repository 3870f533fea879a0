/** `data/models.json`, with what a family or a sibling says once filled in. */

import data from "./data/models.json" with { type: "json" };
import type { ShapeFacts } from "./shape-facts.ts";

/** What a model is made or good for. */
export type CatalogueUse =
  | "chat"
  | "code"
  | "reasoning"
  | "vision"
  | "audio"
  | "embedding"
  | "long-context"
  | "translation";

export interface CatalogueRow {
  name: string;
  aliases: readonly string[];
  family: string;
  release: string;
  shape: ShapeFacts;
  params: number;
  active?: number;
  license?: string;
  hf?: string;
  gguf?: string;
  uses: readonly CatalogueUse[];
  /** Bytes of the projector file at F16. */
  projector?: number;
  source: string;
}

/** A row as written: what it leaves out comes from the row named in `like`, then from its family. */
type RawRow = Partial<Omit<CatalogueRow, "shape">> & {
  name: string;
  family: string;
  like?: string;
  shape?: Partial<ShapeFacts>;
};
type RawFamily = Partial<Pick<CatalogueRow, "license" | "uses" | "source">> & { shape?: Partial<ShapeFacts> };

const families = data.families as unknown as Readonly<Record<string, RawFamily>>;
const rows = data.models as unknown as readonly RawRow[];

/** Every row, whole. */
export function readRows(): CatalogueRow[] {
  const byName = new Map(rows.map((row) => [row.name, row]));
  return rows.map((row) => fill(row, byName));
}

function fill(row: RawRow, byName: ReadonlyMap<string, RawRow>): CatalogueRow {
  const base = row.like === undefined ? undefined : byName.get(row.like);
  if (row.like !== undefined && base === undefined)
    throw new Error(`${row.name} is like ${row.like}, which is not listed.`);
  const own = families[row.family] ?? {};
  const baseFamily = base === undefined ? own : (families[base.family] ?? {});
  const { like, shape, aliases, uses, ...rest } = row;
  return {
    ...own,
    ...(base?.params === undefined ? {} : { params: base.params }),
    ...(base?.active === undefined ? {} : { active: base.active }),
    ...rest,
    aliases: aliases ?? [],
    uses: uses ?? own.uses ?? [],
    source: row.source ?? own.source ?? base?.source ?? "",
    shape: { ...baseFamily.shape, ...base?.shape, ...shape } as ShapeFacts,
  } as CatalogueRow;
}

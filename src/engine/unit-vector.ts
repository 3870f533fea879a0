/**
 * A vector scaled to length 1, so that a dot product is the cosine.
 *
 * @param dimensions its first so many numbers only, as models trained for that (Matryoshka) allow
 */
export function scaleToOne(vector: readonly number[], dimensions = vector.length): Float32Array {
  const kept = Float32Array.from(vector.slice(0, dimensions));
  const length = Math.hypot(...kept);
  // A vector of nothing has no direction; it stays what it is.
  return length === 0 ? kept : kept.map((value) => value / length);
}

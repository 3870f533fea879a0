/**
 * Threads of Node's pool, on which every sequence's sampling runs beside one thread that decodes and one for files: more than
 * there are cores only wake each other.
 */
export function poolThreads(sequences: number, cores: number): number {
  return Math.max(4, Math.min(sequences, cores) + 2);
}

// Abort signals, without features of recent browsers (`AbortSignal.any`, `throwIfAborted`, `reason`).

/** Why a signal was aborted. */
export function reasonOf(signal: AbortSignal): unknown {
  return (signal.reason as unknown) ?? new DOMException("the operation was aborted", "AbortError");
}

/** @throws the signal's reason if it is aborted. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw reasonOf(signal);
}

/** Calls back once when a signal is aborted, or at once if it already is; returns a function that stops waiting. */
export function onAbort(signal: AbortSignal | undefined, aborted: (reason: unknown) => void): () => void {
  if (!signal) return () => {};
  const listener = () => aborted(reasonOf(signal));
  if (signal.aborted) listener();
  else signal.addEventListener("abort", listener, { once: true });
  return () => signal.removeEventListener("abort", listener);
}

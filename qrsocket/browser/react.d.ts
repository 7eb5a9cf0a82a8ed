import type { ConnectOptions, Job, Socket, State } from "./client.js";

/**
 * The page's socket of *url*, opened when the first component that uses it is mounted, and closed with the last one.
 * Renders again when its state changes. Listen in an effect: `useEffect(() => socket?.on("message", show), [socket])`.
 *
 * @param url Default: "/socket".
 * @param options Those of whoever opens it count; of `auth`, the one that was rendered last.
 * @returns `socket` is undefined on the server and in the first render; `state` is then "connecting".
 */
export function useSocket<Message = any>(
  url?: string,
  options?: ConnectOptions,
): { socket: Socket<Message> | undefined; state: State };

/**
 * The job as it was last heard of; undefined while it is not known. Renders again when it changes.
 *
 * @param id May be missing while no job has been started.
 * @param url Default: "/socket".
 */
export function useJob<Result = any>(id: string | null | undefined, url?: string): Job<Result> | undefined;

import type { ConnectOptions, Job, Socket, State } from "./client.js";

export interface SocketOptions extends ConnectOptions {
  /** False: this component does not use the socket, as long as nobody is signed in, say. Default: true. */
  enabled?: boolean;
}

/**
 * The page's socket of *url*, opened when the first component that uses it is mounted, and closed with the last one.
 * Renders again when its state changes. Listen in an effect: `useEffect(() => socket?.on("message", show), [socket])`.
 *
 * A socket that the server has refused for good (41xx) is tried again, at most once a second, when `auth` returns
 * something else in a later render, or when *enabled* becomes true. (An async `auth` is not asked for that.)
 *
 * @param url Default: "/socket".
 * @param options Those of all components count together, as they are when it is opened; of `auth` the last one rendered.
 * @returns `socket` is undefined on the server, in the first render, where `state` is "connecting", and while it is not
 * *enabled*, where that is "closed".
 */
export function useSocket<Message = any>(
  url?: string,
  options?: SocketOptions,
): { socket: Socket<Message> | undefined; state: State };

/**
 * The job as it was last heard of. Renders again when it changes.
 *
 * @param id May be missing while no job has been started: nothing is opened for it.
 * @param url Default: "/socket".
 * @returns undefined while the jobs are not known yet; null if the user has no such job. One that begins later replaces
 * it.
 */
export function useJob<Result = any>(id: string | null | undefined, url?: string): Job<Result> | null | undefined;

import type { About, ConnectOptions, Job, Socket, State, Topic, TopicState } from "./client.js";

export interface UseOptions {
  /** Default: "/socket". */
  url?: string;
  /** False: this component does not use the socket, as long as nobody is signed in, say. Default: true. */
  enabled?: boolean;
}

/**
 * The page's socket of *url*, opened when the first component that uses it is mounted, and closed with the last one.
 * Renders again when its state changes. Listen in an effect: `useEffect(() => socket?.on("message", show), [socket])`.
 *
 * A socket that the server has refused for good is tried again, at most once a second, when `auth` returns something
 * else in a later render, or when *enabled* becomes true. (An async `auth` is not asked for that.)
 *
 * @param options Those of all components count together, as they are when it is opened; of `auth` the last one rendered.
 * @returns `socket` is undefined on the server, in the first render, where `state` is "connecting", and while it is not
 * *enabled*, where that is "closed".
 */
export function useSocket<Message = any>(
  options?: UseOptions & ConnectOptions,
): { socket: Socket<Message> | undefined; state: State };

/**
 * A topic, joined while a component uses it and left with the last one. One that was refused is asked for again by the next
 * component that is mounted with it.
 *
 * @param name Nothing is joined while it is missing.
 * @returns `state` is "joining" before the socket is open, and "left" without a name; `error` says why it was refused.
 */
export function useTopic<Message = any>(
  name: string | null | undefined,
  options?: UseOptions,
): { topic: Topic<Message> | undefined; state: TopicState; members: string[]; error: string | undefined };

/** The sorted ids of a topic's members, joined as `useTopic` does. */
export function useMembers(name: string | null | undefined, options?: UseOptions): string[];

export interface Heard<Message = any> extends About {
  data: Message;
}

/**
 * The last messages since the component was mounted, the newest last; those before it if nobody had listened.
 *
 * @param filter What `data.type` or `data.kind` is, or a function that says whether a message is wanted. Default: all.
 */
export function useMessages<Message = any>(
  filter?: string | ((data: Message) => boolean),
  options?: UseOptions & {
    /** Of this topic, which is joined; null while it is not known yet. Default: the user's own, and everyone's. */
    topic?: string | null;
    /** Default: 100. */
    limit?: number;
  },
): Heard<Message>[];

/**
 * The user's jobs, newest first.
 *
 * @returns `isLoading` until they are known; `error` once the socket is closed for good: they may be out of date.
 */
export function useJobs(options?: UseOptions): { jobs: Job[]; isLoading: boolean; error: string | undefined };

/**
 * The job as it was last heard of. Renders again when it changes.
 *
 * @param id May be missing while no job has been started: nothing is opened for it.
 * @returns undefined while the jobs are not known yet; null if the user has no such job. One that begins later replaces
 * it.
 */
export function useJob<Result = any>(
  id: string | null | undefined,
  options?: Pick<UseOptions, "url">,
): Job<Result> | null | undefined;

/**
 * What a job writes with `job.stream()`.
 *
 * @returns The `text` so far; `isDone` when the job has ended and this is all; `error` if it cannot be read.
 */
export function useStream(
  id: string | null | undefined,
  options?: Pick<UseOptions, "url">,
): { text: string; isDone: boolean; error: string | undefined };

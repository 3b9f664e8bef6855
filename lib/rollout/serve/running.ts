/** A running server. */
export interface RunningServer {
  /** Address of the server. */
  url: string;
  /** Ends the requests in progress and disposes of the policy. */
  close(): Promise<void>;
}

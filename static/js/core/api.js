// The REST API with the page's own session; errors arrive as ApiError with the fields they belong to.
import { reachAnswer, reachLost } from "./reach.js";
import { text } from "./texts.js";

export class ApiError extends Error {
  constructor(status, error) {
    super(error.message || text("error_unknown"));
    this.status = status;
    this.id = error.id || "";
    this.fields = error.fields || {};
  }
}

async function errorOf(response) {
  try {
    const body = await response.json();
    return new ApiError(response.status, body.error || { message: body.detail });
  } catch {
    return new ApiError(response.status, { message: text("error_status", { status: response.status }) });
  }
}

function requestOf({ method = "GET", body, headers = {}, signal, keepalive = false }) {
  const request = { method, headers: { Accept: "application/json", ...headers }, credentials: "same-origin", signal, keepalive };
  if (method !== "GET") request.headers["X-CSRFToken"] = document.body.dataset.csrf;
  if (body !== undefined) {
    request.headers["Content-Type"] = "application/json";
    request.body = JSON.stringify(body);
  }
  return request;
}

/** Calls /api/v1/<path>. Resolves to the JSON answer, or null for an empty one. Throws ApiError.
 * given: method, body, headers, signal; keepalive: it goes on when the page goes. */
export async function api(path, given = {}) {
  let response;
  try {
    response = await fetch(`/api/v1/${path}`, requestOf(given));
  } catch (error) {
    if (error.name === "AbortError") throw error;
    reachLost();
    throw new ApiError(0, { id: "network", message: text("error_network") });
  }
  if (!response.ok) {
    if (document.body.dataset.user) reachAnswer(response.status);
    throw await errorOf(response);
  }
  return response.status === 204 || response.headers.get("Content-Length") === "0" ? null : response.json();
}

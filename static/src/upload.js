// Resumable uploads by the tus 1.0 protocol.
export { DetailedError, Upload, isSupported } from "tus-js-client";

// With whom a dataset is shared: add and remove, then the page as it is now.
import { api } from "./api.js";

export function sharesMake(root) {
  const fault = root.querySelector("[data-share-error]");
  const address = `datasets/${root.dataset.shares}/shares/`;

  async function done(path, options) {
    fault.hidden = true;
    try {
      await api(path, options);
      window.location.reload();
    } catch (error) {
      fault.textContent = error.message;
      fault.hidden = false;
    }
  }

  root.querySelector("[data-share-form]").addEventListener("submit", (event) => {
    event.preventDefault();
    done(address, { method: "POST", body: Object.fromEntries(new FormData(event.target)) });
  });
  for (const button of root.querySelectorAll("[data-unshare]")) {
    const which = new URLSearchParams({ kind: button.dataset.unshare, name: button.dataset.name });
    button.addEventListener("click", () => done(`${address}?${which}`, { method: "DELETE" }));
  }
}

// Third-party code of every page: htmx, and the three Bootstrap parts that Tabler's markup calls by
// data-bs-* attributes. Our own part of the bundle is static/js/base.js.
//
// htmx is major 2: of the two majors that django-htmx ships it is the one whose stated browsers
// include the oldest that we serve.
import htmx from "htmx.org";
import Collapse from "bootstrap/js/dist/collapse.js";
import Dropdown from "bootstrap/js/dist/dropdown.js";
import Modal from "bootstrap/js/dist/modal.js";

// The content security policy allows neither eval nor inline styles nor inline handlers.
htmx.config.allowEval = false;
htmx.config.includeIndicatorStyles = false;
htmx.config.selfRequestsOnly = true;

window.htmx = htmx; // hx-* attributes work without it; htmx extensions look it up here

export { Collapse, Dropdown, Modal, htmx };

// htmx, for the pages with hx-* attributes: {% module "htmx.js" %} before their own script. The others, the first that
// anybody sees among them, do without.
//
// htmx is major 2: of the two majors that django-htmx ships it is the one whose stated browsers
// include the oldest that we serve.
import htmx from "htmx.org";

// The content security policy allows neither eval nor inline styles nor inline handlers.
htmx.config.allowEval = false;
htmx.config.includeIndicatorStyles = false;
htmx.config.selfRequestsOnly = true;

window.htmx = htmx; // for our own scripts; hx-* attributes work without it

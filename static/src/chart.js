// The parts of ECharts that our charts use, and no others: lines on a canvas. About 190 KB gzipped, so a
// page loads this bundle only where a chart stands.
import { LineChart } from "echarts/charts";
import {
  DataZoomComponent,
  GridComponent,
  LegendComponent,
  MarkPointComponent,
  TooltipComponent,
} from "echarts/components";
import { connect, init, use } from "echarts/core";
import { CanvasRenderer } from "echarts/renderers";

use([
  LineChart,
  GridComponent,
  TooltipComponent,
  LegendComponent,
  DataZoomComponent,
  MarkPointComponent,
  CanvasRenderer,
]);

// Tooltips must use renderMode "richText": the HTML mode sets inline styles, which the content
// security policy refuses.
export { connect, init };

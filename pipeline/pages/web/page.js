// Shows the values of a chart below the pointer; the page is complete without it.
"use strict";
const tip = document.createElement("div");
tip.id = "tip";
tip.hidden = true;
document.body.append(tip);
for (const svg of document.querySelectorAll("svg[data-series]")) {
  const series = JSON.parse(svg.dataset.series);
  const cursor = document.createElementNS(svg.namespaceURI, "line");
  cursor.setAttribute("class", "cursor");
  cursor.setAttribute("y1", 10);
  cursor.setAttribute("y2", 204);
  const leave = () => { tip.hidden = true; cursor.remove(); };
  svg.addEventListener("pointerleave", leave);
  svg.addEventListener("pointermove", (event) => {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse()).x;
    const near = (points) => points.reduce((a, b) => (Math.abs(b[0] - at) < Math.abs(a[0] - at) ? b : a));
    const found = series.map((each) => near(each.points));
    const x = near(found)[0];
    const lines = [document.createElement("b")];
    lines[0].textContent = near(found)[2];
    series.forEach((each, i) => {
      if (Math.abs(found[i][0] - x) > 12) return;
      const line = document.createElement("span");
      const key = document.createElement("i");
      key.className = "key c" + each.colour;
      line.append(key, each.label + " ", Object.assign(document.createElement("b"), { textContent: found[i][3] }));
      lines.push(line);
    });
    tip.replaceChildren(...lines);
    tip.hidden = false;
    cursor.setAttribute("x1", x);
    cursor.setAttribute("x2", x);
    svg.append(cursor);
    tip.style.left = Math.max(4, Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8)) + "px";
    tip.style.top = Math.max(4, Math.min(event.clientY + 14, innerHeight - tip.offsetHeight - 8)) + "px";
  });
}

// Thresholds an image and measures what lies above: one row for each particle, and a label image.
setBatchMode(true);
List.setList(getArgument());
File.saveString("ImageJ " + getVersion() + "\n", List.get("version"));
method = List.get("method");
background_um = parseFloat(List.get("background_um"));
sizes = split(List.get("image_voxel_size_um"), ",");
width_um = parseFloat(sizes[sizes.length - 1]);
height_um = parseFloat(sizes[sizes.length - 2]);

open(List.get("image"));
if (bitDepth() == 24) exit("error: found a colour image; expected one with grey levels");
if (nSlices > 1) run("Z Project...", "projection=[Max Intensity]");
run("Set Scale...", "distance=0");
setVoxelSize(width_um, height_um, 1, "um");
grey = getImageID();

if (List.get("polarity") == "dark") run("Invert");
if (background_um > 0) run("Subtract Background...", "rolling=" + background_um / width_um);
setOption("BlackBackground", true);
setAutoThreshold(method + " dark");
getThreshold(least, most);
run("Convert to Mask");
if (List.get("watershed") == "true") run("Watershed");

run("Set Measurements...", "area centroid shape redirect=None decimal=6");
run("Options...", "iterations=1 count=1 black"); // as it is where nobody has changed it
edges = "";
if (List.get("exclude_edges") == "true") edges = " exclude";
from = List.get("min_area_um2");
to = List.get("max_area_um2");
if (to == "") to = "Infinity";
circularity = List.get("min_circularity") + "-1.00";
run("Analyze Particles...", "size=" + from + "-" + to + " circularity=" + circularity + " show=[Count Masks] clear" + edges);
count = nResults;
saveAs("Tiff", List.get("out_labels"));

// Written line by line: an empty table of ImageJ cannot be saved.
table = File.open(List.get("out_table"));
print(table, "label,area_um2,x_um,y_um,circularity,aspect_ratio,solidity");
for (i = 0; i < count; i++)
    print(table, "" + (i + 1) + "," + d2s(getResult("Area", i), 6) + "," + d2s(getResult("X", i), 6) + ","
        + d2s(getResult("Y", i), 6) + "," + d2s(getResult("Circ.", i), 6) + "," + d2s(getResult("AR", i), 6) + ","
        + d2s(getResult("Solidity", i), 6));
File.close(table);
print("" + count + " particles above " + least);

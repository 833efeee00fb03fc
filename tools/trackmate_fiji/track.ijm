// Finds and links spots with TrackMate, and keeps its file.
List.setList(getArgument());
setBatchMode(true);
File.saveString("TrackMate in ImageJ " + getVersion() + "\n", List.get("version"));
sizes = split(List.get("image_voxel_size_um"), ",");
width_um = parseFloat(sizes[sizes.length - 1]);
depth_um = 1;
if (sizes.length > 2) depth_um = parseFloat(sizes[0]);

open(List.get("image"));
getDimensions(width, height, channels, slices, frames);
if (List.get("frames_are") == "slices" && frames == 1) {
    frames = slices;
    slices = 1;
}
Stack.setDimensions(channels, slices, frames);
setVoxelSize(width_um, parseFloat(sizes[sizes.length - 2]), depth_um, "um");
step_s = List.get("image_time_step_s");
if (step_s != "") Stack.setFrameInterval(parseFloat(step_s));

// TrackMate reads the name from between brackets, which the name itself may not have then.
file = getDirectory("temp") + "tracks-" + getTime() + ".xml";
run("TrackMate", "use_gui=false display_results=false save_to=[" + file + "]"
    + " radius=" + List.get("radius_um") + " threshold=" + List.get("threshold")
    + " subpixel=" + List.get("subpixel") + " median=" + List.get("median") + " channel=" + List.get("channel")
    + " max_distance=" + List.get("max_distance_um") + " max_gap_distance=" + List.get("gap_distance_um")
    + " max_frame_gap=" + List.get("gap_frames"));
if (File.exists(file)) {
    File.copy(file, List.get("out_tracks"));
    File.delete(file);
}

// Every kind of error and warning that a user may see. A code is never given to another kind, nor used again when its
// kind is gone; a new kind takes a free number of its area. tools/docs fails where a text that is raised has no code of
// this table, is of a type that its code does not name, or a code is raised nowhere; it lists all on the page "Errors".
#include "base/error_codes.h"

namespace weft {
namespace {

// Code, types, what it says, cause, way out.
constexpr ErrorKind kKinds[] = {

    // Processes and the world
    {"W001", "RuntimeError", "Weft is not active in this process",
     "The library was loaded, but could not register itself: another copy of it, or another extension, has its "
     "dispatch key, or it is still loading.",
     "Load one copy of libweft.so only (`weft.library_path()` names Python's), and no other extension on that key."},
    {"W002", "ImportError, FileNotFoundError", "the library is not there, or was built for another torch",
     "The Python package found no libweft.so, no CMake package beside it, or one that was built for another torch than "
     "the one loaded.",
     "`pip install .` in the environment in use, or build with `tools/setup` (`--torch VERSION`); WEFT_LIBRARY names "
     "another file."},
    {"W003", "ImportError", "a package that this needs is not installed, or not known in this version",
     "Pictures need matplotlib; weft.keras needs a Keras that it knows, on the torch backend.",
     "Install what the message names; set KERAS_BACKEND=torch before Keras is imported."},
    {"W004", "RuntimeError", "a rank's helper process uses its connections or rendezvous",
     "os.fork, multiprocessing's \"fork\" or a DataLoader's worker made this process; what it inherited cannot "
     "communicate. Or multiprocessing's \"spawn\" imports the main file again in a new process, which is no rank.",
     "Start it with \"spawn\", the program under `if __name__ == \"__main__\":`, or use plain tensors only in it."},
    {"W005", "RuntimeError", "two threads communicate at once",
     "Collectives of two threads of one process may be issued in another order than on the other ranks.",
     "Run what needs collectives on one thread, or let threads take turns that are the same on all ranks."},
    {"W006", "ValueError", "a setting of the world is not of its form",
     "An argument of initialize, or an environment variable, is no number in its range, no host, no address or no "
     "time.",
     "Correct the setting that the message names."},
    {"W007", "ValueError", "the world is described in part only",
     "Of the number of processes, the number of this one and the address where they meet, some are set and others not, "
     "or they contradict.",
     "Set all of them, as torchrun does, or none for a world of one process."},
    {"W008", "ValueError", "the world is set already",
     "This process is initialized as another rank, or of another number of ranks, or sharded tensors communicate "
     "already.",
     "Initialize once, before the first sharded tensor is made, as torch.distributed is initialized."},
    {"W009", "warning", "an environment variable is ignored",
     "WEFT_LOG or KERAS_DISTRIBUTION_DEBUG has a value that it does not know.",
     "Use one of the values that the message names."},

    // Meshes and layouts
    {"W020", "ValueError", "a device mesh cannot have this shape",
     "A mesh has one to eight axes, each of at least one rank.", "Give the size of each axis, such as (2, 4)."},
    {"W021", "ValueError", "axis names of a device mesh are not right",
     "Each axis has one printable name, which no other has.",
     "Give a tuple with one name per axis, such as (\"data\", \"model\")."},
    {"W022", "ValueError", "devices of a device mesh are not right",
     "The list names another number of devices than the shape has, one of them twice, one that is no rank, or unlike "
     "types.",
     "List each rank of the world once, in the mesh's order, or leave the list out."},
    {"W023", "ValueError", "a device mesh does not cover the world",
     "All processes take part in a mesh, and this one has another number of ranks, or names ranks that are not there.",
     "Start as many processes as the mesh has ranks, or build the mesh of as many as there are."},
    {"W024", "ValueError, RuntimeError", "process groups do not fit the mesh",
     "Groups that were given for a mesh's axes are of other ranks than its lines along them, or c10d made none.",
     "Give one group per axis, of this rank's line along it; `weft.DeviceMesh.from_torch` takes those of a torch "
     "mesh."},
    {"W025", "ValueError", "a mesh has no such axis",
     "A layout, a pattern or a call names an axis that is not among those of the mesh.",
     "Use one of the mesh's axis names, or make the mesh with that axis."},
    {"W026", "ValueError", "axes are not written as a layout's",
     "A layout is a tuple with one entry per dimension: the name of an axis, a tuple of names, or None.",
     "For a vector write (\"model\",), for a matrix (\"model\", None) or (None, \"model\")."},
    {"W027", "ValueError", "a mesh axis is used twice in one layout",
     "An axis splits one dimension only, and cannot at the same time have a pending reduction.",
     "Take the axis out of one of the two."},
    {"W028", "ValueError", "a layout is for another number of dimensions",
     "The layout has another number of entries than the tensor has dimensions.",
     "Write one entry for each dimension of the tensor, None where it stays whole."},
    {"W029", "ValueError", "a name or a number stands for nothing here",
     "A reduction, a mode, a device type, a code, a trace or a layout was asked for by a name or a number that is not "
     "known.",
     "Use one of those that the message lists, or one that is still in use."},
    {"W030", "ValueError", "nothing was given where a mesh, a layout or a tensor is needed",
     "An argument is null or undefined, or axes were given without the mesh that they belong to.",
     "Pass it; a TensorLayout brings its mesh along."},
    {"W031", "ValueError", "two meshes in one call",
     "Tensors, layouts or maps that go together lie on different meshes.",
     "Make them on one mesh; `weft.full_tensor` and `weft.distribute_tensor` bring a tensor from one to another."},
    {"W032", "ValueError", "a layout has no counterpart",
     "A DTensor's placements, or a layout, say what the other cannot.",
     "Redistribute it to one that both have first, such as Shard and Replicate."},
    {"W033", "ValueError", "blocks of a split do not fill their dimension",
     "The number behind an axis in a layout is the length of the blocks that are split, and does not divide the "
     "dimension.",
     "Use a layout without blocks; only views make them."},
    {"W034", "ValueError", "the parts make up no whole tensor",
     "The shapes of the ranks' parts are not those of torch.chunk for the layout given, or not of the global shape "
     "given.",
     "Pass `shape`, and on each rank the chunk that torch.chunk gives it."},
    {"W035", "ValueError", "a sharded tensor stands where a plain one is needed, or the other way round",
     "Only sharded tensors have layouts and paths; parts, batches and groups of c10d's are plain.",
     "`weft.distribute_tensor` makes a tensor sharded; `weft.full_tensor` and `weft.local_tensor` make it plain."},
    {"W036", "ValueError", "a pending reduction cannot be done in this dtype",
     "The backend has no such reduction of tensors of this dtype.",
     "Convert the tensor to another dtype before it is reduced."},
    {"W037", "ValueError", "a rank or a coordinate is not in the mesh",
     "A number lies outside of the mesh, or of the axis that the call is about.",
     "Use one from 0 to the number of ranks less one."},
    {"W038", "ValueError", "an argument has not the type that is needed",
     "A module, a mesh, a layout map, a function or a tensor was expected, and another object was given.",
     "Pass what the message asks for."},
    {"W039", "ValueError", "an argument is out of its range, or does not go with the others",
     "A number is too large or too small, or two arguments cannot be given together.",
     "Change the argument that the message names."},

    // Layout maps
    {"W040", "ValueError", "a pattern of a layout map is not valid",
     "Patterns are RE2's regular expressions, at least one character long, which match whole paths.",
     "Correct it at the position told; `.*` stands for anything, `\\.` for a dot."},
    {"W041", "ValueError", "a path matches several entries of a layout map",
     "Two patterns match one variable's whole path, so that its layout is open.",
     "Make the patterns narrower, or insert the path itself: an exact key wins over every pattern."},
    {"W042", "ValueError", "a layout map has the pattern already",
     "An entry is inserted under a pattern that is there.",
     "Erase it first; in Python `layouts[pattern] = axes` replaces it."},
    {"W043", "ValueError", "a layout map has no such entry",
     "No pattern matches the path, or the pattern that is to be erased is not there.",
     "`print(layouts)` shows the entries; add one."},
    {"W044", "ValueError", "no layouts are known to lay the variables out by",
     "Neither were layouts passed, nor are any registered, or a distribution is needed and none is set.",
     "Pass a layout map (a dict needs its mesh), or call `weft.register_layouts`, in Keras `set_distribution`, "
     "before."},
    {"W045", "ValueError", "a plan file or a cost file is not valid",
     "The text is no JSON, is too long, or has not the entries of a layout map.",
     "Correct it at the place told (file:line:column); `layouts.save(file)` writes a valid one."},
    {"W046", "ValueError", "a layout splits a dimension that this weight has not for itself",
     "An entry that speaks of a weight as the other framework has it splits a dimension that is folded into another "
     "one.",
     "Use None for that dimension."},
    {"W047", "warning", "entries of a layout map match nothing, or large variables have none",
     "A key matches the whole path; it may be misspelt. Variables that no key matches are kept whole on every rank.",
     "Correct the key as proposed; give what is meant to stay whole an entry of None."},
    {"W048", "ValueError", "a text is no str, or has characters that are none",
     "A path, name or pattern is no str, or has a lone surrogate, which no file and no other language can have.",
     "Pass a str of valid characters."},
    {"W049", "ValueError", "two layout maps cannot be combined",
     "Both give a variable layouts that exclude each other, or were made for different models.",
     "Change one of them, or set that layout after combining the maps without it."},

    // Modules and their variables
    {"W050", "ValueError", "a lazy module has no shapes yet",
     "Layouts and plans are made of shapes, and a parameter has none before the module has run once.",
     "Run the module once, on a small plain batch, before it is distributed."},
    {"W051", "ValueError", "tied variables have two layouts",
     "One variable has several names, and the layout map gives them different layouts.",
     "Give all of its names the same layout, or name one of them only."},
    {"W052", "ValueError", "variables are in use as they were before",
     "An optimizer, an autograd graph or a member of a module holds the plain variables, which distribute_module "
     "replaces.",
     "Distribute before the optimizer is made and before the forward pass; let go of its results. What hooks compute "
     "from variables (torch.nn.utils.weight_norm, spectral_norm, prune): torch.nn.utils.parametrizations instead, or "
     "delete the attribute, which the hook sets again."},
    {"W053", "ValueError", "a module is distributed already",
     "Its variables are DTensors or sharded tensors, and the call would distribute them again.",
     "Do it once; `weft.from_dtensor` and `load_state_dict` carry values over."},
    {"W054", "ValueError", "variables were made on the meta device and have no values",
     "A module made there has to be filled: from a checkpoint, by param_init_fn, or by hand.",
     "Load them, or compute them; `weft.unfilled_paths` names what is left."},
    {"W055", "warning", "variables had other values on other ranks",
     "Each rank keeps its part of its own values, so that the whole is one that no rank had.",
     "Seed all ranks alike before the model is built (weft.initialize does), or load one checkpoint on all."},
    {"W056", "ValueError, NotImplementedError", "a plain tensor cannot become sharded by assignment",
     "A plain tensor is to share the data of a sharded one, of another shape, of a type that has no place for it, or "
     "outside of Python.",
     "Put the sharded tensor itself where the plain one is, or copy its values with copy_."},
    {"W057", "ValueError", "a tensor subclass without memory of its own cannot be laid out",
     "Its values are elsewhere, as a DTensor's or a quantized tensor's are.",
     "Pass the whole value as a plain tensor; of a DTensor `weft.from_dtensor(x)`."},

    // Ops and sharded tensors
    {"W060", "NotImplementedError, BufferError", "a sharded tensor has no memory of its own to share",
     "data_ptr, storage, pickle, dlpack and set_ need one piece of memory that holds the whole value; no process has "
     "it.",
     "`weft.full_tensor(x)` on every rank for the whole value, `weft.local_tensor(x)` for this rank's part; "
     "`weft.save` to save."},
    {"W061", "ValueError, NotImplementedError", "a sharded tensor cannot be resized",
     "resize_, or an out= of another shape, would change the shape of a tensor that is split.",
     "Make a new tensor of that shape; give out= the result's shape."},
    {"W062", "NotImplementedError", "strict mode refuses to gather an op's inputs, or to lay one out anew",
     "`weft.strict(True)` is on, and no rule says how to split this op for these layouts, or its operands' layouts do "
     "not go together.",
     "Choose layouts that go together, register a rule (`weft.register_rule`), name the variables that may be gathered "
     "(`weft.strict(allow=...)`), or call weft.strict(False)."},
    {"W063", "warning", "an op's inputs are gathered",
     "No rule says how to split this op for these layouts, so that every rank runs it whole: right, but slow.",
     "Register a rule, lay the inputs out anew, or leave it where it costs little; weft.strict(True) makes it an "
     "error."},
    {"W064", "NotImplementedError", "a sparse, nested, quantized or mkldnn tensor meets a sharded one",
     "Only strided tensors have parts that lie in a grid, and sparse gradients of embeddings theirs; the op combines "
     "one "
     "of another kind with a sharded one, or would write to what each rank has a part of.",
     "Keep to strided tensors, or call weft.full_tensor(x) on the sharded ones first, on every rank."},
    {"W065", "NotImplementedError", "a write through this view cannot be carried to its base",
     "The view is of another type than the base, or one of its dimensions is expanded and what is written is more than "
     "one value.",
     "Write to the base, or to a clone of the view."},
    {"W066", "ValueError", "a collective of torch.distributed got a sharded tensor",
     "It would combine the ranks' parts as if each were a whole tensor.",
     "Leave the call out, or pass it weft.local_tensor(x) or weft.full_tensor(x)."},
    {"W067", "NotImplementedError, ValueError, warning", "sharded tensors do not run there under torch.compile",
     "Something in the code cannot be recorded on sharded tensors (or torch is older than 2.15, or "
     "weft.compile_graphs(False) was called, or it is torch.export, or a size is to be a symbol); it runs op by op, "
     "unless a whole graph was asked for.",
     "Leave torch.compile (jit_compile in Keras) off, or keep that part out of it with torch.compiler.disable; leave "
     "out mark_dynamic and dynamic=True."},
    {"W068", "RuntimeError, ValueError, NotImplementedError, IndexError", "an op's arguments are not valid",
     "Plain torch refuses them alike: a dtype, a shape, an index, memory that is written and read at once, or a "
     "parameter of a distribution is not one the op takes.",
     "Correct the argument that the message names, as in a program of one process."},
    {"W069", "RuntimeError", "an op makes NaN or Inf",
     "`weft.check_finite(True)` is on, and a result has values that its operands had not, or had already.",
     "Look at the variable and the op named; gradients may need clipping, a loss an epsilon."},
    {"W070", "NotImplementedError", "random values cannot be drawn there",
     "The device has no counter-mode kernel, Weft was built without the CUDA toolkit, or the shard has too many "
     "dimensions.",
     "Use weft.random_mode(\"replay\"), build with CUDA, or reshape the tensor."},
    {"W071", "RuntimeError", "a shard was written on its way to the other ranks",
     "A variable that is gathered ahead of its use was changed by way of local_tensor in the middle of a pass.",
     "Write to the sharded tensor, or between passes, or switch that off: weft.overlap(0)."},

    {"W072", "warning", "an operand is laid out anew for an op",
     "`weft.warn_relayout` is on, and the op needs parts of it that other ranks hold.",
     "Choose layouts that go together, or leave it where it costs little."},
    {"W073", "NotImplementedError", "a value is asked for on a simulated mesh",
     "What is laid out over a mesh without processes has shapes and no values; `weft.plan` and `weft.search` run steps "
     "on such meshes.",
     "Leave item(), printing, branches by values and ops whose results' shapes depend on values out of what is "
     "planned."},
    {"W074", "RuntimeError", "a step that is frozen does what it has not done before",
     "`weft.frozen()` is on, and an op meets shapes or layouts that no step before it had.",
     "Run the whole step once or twice before it is frozen, as it will run: same shapes, same modes, backward too."},

    // Rules
    {"W080", "ValueError", "a rule's text is not valid",
     "It does not follow the notation, or does not fit the op's schema.",
     "Correct it at the column told; docs/rules.md has the notation."},
    {"W081", "ValueError", "an op cannot have this rule",
     "It is a view, an out= variant, made of other ops, returns no tensor, or has a rule already.",
     "Register a rule for the op that it is a variant of, or for those that it is made of, or none."},
    {"W082", "ValueError, TypeError", "no such op",
     "The name is not registered with the dispatcher, is ambiguous without its overload, or the object is no op.",
     "Register the op first, and name it as namespace::name.overload."},
    {"W083", "ValueError", "a rule cannot be tried on these arguments",
     "They are not those of the op's schema, no rule of it fits them, or it has none.",
     "Pass all arguments that the op takes; give the text of a rule."},

    // Ranks in step
    {"W090", "ValueError", "ranks differ in what must be the same on all",
     "Ranks run different programs, or were given different arguments, layouts, meshes, values or settings.",
     "Make what is named the same on all ranks: same code, same arguments, same random state."},
    {"W091", "ValueError", "ranks ask for different collectives",
     "Ranks have taken different branches, so that the values they exchange do not belong together.",
     "Compare the calls named; branch only on what all ranks share. A value read on one rank alone is a usual cause."},
    {"W092", "RuntimeError", "a rank does not come",
     "It has ended, hangs, or is in another part of the program, while others wait for it in a collective.",
     "Look at that rank's own output; a longer first step needs a longer timeout in weft.initialize."},
    {"W093", "RuntimeError", "a collective cannot be finished",
     "The connection to other ranks is lost, or the backend gave up.",
     "Look at the other ranks' output and at the network; start again from the last checkpoint."},
    {"W094", "Exception", "one rank has failed",
     "An error that one rank alone has is raised on all, so that none waits for ever; the text is that rank's.",
     "Do what that error says; a value of one rank's own data, such as an index, is a usual cause."},
    {"W095", "RuntimeError", "the ranks are out of step since an earlier error",
     "After an error that one rank alone had, the ranks' collectives do not belong together any more.",
     "Mend the first error, and start the processes again."},
    {"W096", "warning", "a rank keeps the others waiting",
     "Others have waited for it for several seconds in a collective.",
     "Nothing, where it has more to do (data, files); else look at what it does."},
    {"W097", "RuntimeError", "the ranks' store does not answer or does not exist",
     "The process that keeps it (rank 0 or torchrun) has ended or is not reached, or the process group was made "
     "without one.",
     "Look at that process; weft.save needs no store where async_save does."},
    {"W098", "warning", "a communicator could not be ended",
     "After an error a process group of the backend did not let itself be aborted.",
     "Start the processes again where they hang."},

    // Checkpoints and files
    {"W110", "RuntimeError, ValueError", "a file cannot be read or written",
     "The system refuses it: it is not there, is no file, rights are missing, or the disk is full.",
     "Do what the system's words at the end say."},
    {"W111", "ValueError", "a checkpoint, or a part of it, is not there",
     "The folder holds none, or the checkpoint was saved without what is asked for: an optimizer, a random state, "
     "`extra`.",
     "Load without that argument, or from the folder that `weft.save` wrote."},
    {"W112", "ValueError", "a checkpoint is damaged",
     "Bytes are missing or are not those that were saved, or files contradict each other.",
     "Load another checkpoint, or copy this one anew."},
    {"W113", "ValueError", "a checkpoint does not fit the model or the optimizer",
     "Names, shapes or parameter groups are others than when it was saved.",
     "Make the model that was saved, or pass strict=False where what is missing is meant to be left."},
    {"W114", "ValueError", "ranks see different checkpoints",
     "The folder is not one that all ranks share, or was written while they read it.",
     "Use a shared file system, or copy the whole checkpoint to every machine."},
    {"W115", "RuntimeError", "a checkpoint was changed while it was read",
     "Another program wrote into the folder; some variables have new values, others old ones.",
     "Load again when nobody writes."},
    {"W116", "ValueError", "a tensor cannot be read into",
     "The destination has another dtype, layout or place than values of a file can be put in.",
     "Load into the model's variables, or a tensor like the saved one."},
    {"W117", "ValueError", "this cannot be saved",
     "A name, a type or a value has no place in the files: no tensor, on the meta device, a name twice, an own class.",
     "Save what is made of tensors, numbers, strings, lists and dicts, each under a name of its own."},
    {"W118", "ValueError", "the folder holds another checkpoint's file",
     "Hugging Face's loaders would go on reading the file that is there instead of what is saved.",
     "Save into another folder, or remove the file."},
    {"W119", "warning", "a save in the background has failed",
     "`async_save` could not finish, and nobody has asked for its end with wait().",
     "Call wait() on what it returns; look at the disk and at the error told."},

    // Keras
    {"W130", "ValueError", "a dataset that is distributed already",
     "A tf.distribute strategy has split it, and keras.distribution would split it again.",
     "Give the tf.data.Dataset of whole batches, or set auto_shard_dataset=False and give this rank's own."},
    {"W131", "ValueError", "sharded variables cannot be traced into an archive",
     "ExportArchive keeps what one process holds of the variables.",
     "model.export(path), which gathers them, or make the archive where no distribution is set."},
    {"W132", "warning", "clear_session has dropped the distribution",
     "keras.utils.clear_session resets Keras's global state, of which the distribution is a part.",
     "Call keras.distribution.set_distribution again after it."},
    {"W133", "warning", "a data-parallel mesh has several axes",
     "DataParallel splits the batch over the first axis only.",
     "Give a mesh of one axis, or use ModelParallel with batch_dim_name."},
    {"W134", "ValueError", "a model has no variables yet", "Keras makes variables when the model is built.",
     "Call model.build, or the model once."},

    // Hugging Face and other libraries
    {"W140", "ValueError", "no tensor-parallel plan for this model",
     "The class or configuration carries no plan, or one with styles that Weft does not know.",
     "weft.layouts.megatron(model, mesh, axis), or pass plan={pattern: style}."},
    {"W141", "ValueError", "from_pretrained cannot load into shards as asked",
     "device_map, distributed_config or quantization want to decide where the weights are, as the mesh does.",
     "Leave those arguments out."},
    {"W142", "warning", "registered layouts are not applied to a loaded model",
     "The checkpoint is loaded in a way that does not go together with shards.",
     "Leave device_map, distributed_config and quantization out, or distribute the model after it is loaded."},
    {"W143", "warning", "another library is of a release that Weft does not know",
     "Weft hooks into it, and did not find the places it knows.",
     "Use a release that the README names, or do as the message says."},

    // Tools
    {"W150", "ValueError, RuntimeError", "a check, a report or a trace cannot be made so",
     "The model is not made the same twice, or a trace is begun that runs already.", "Do as the message says."},
    {"W151", "ValueError", "an argument of the command line is not of its form",
     "`python -m weft COMMAND --help` shows what each takes.", "Write it as the message shows."},
    {"W152", "warning", "CommDebugMode does not see Weft's collectives",
     "They are issued below the dispatcher, where it looks from above.",
     "Use weft.trace(), which tells each one's op, bytes, variable and module."},
};

}  // namespace

c10::ArrayRef<ErrorKind> error_kinds() { return kKinds; }

}  // namespace weft

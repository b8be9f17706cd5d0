using Vmm.Events.Native;

namespace Vmm.Events.Rings;

/// <summary>Which engine a ring gets.</summary>
internal static class RingEngines
{
    /// <summary>What a ring carries out.</summary>
    private static readonly IoUringOp[] Operations =
    [
        IoUringOp.ReadV, IoUringOp.WriteV, IoUringOp.Fsync, IoUringOp.ReadFixed, IoUringOp.WriteFixed, IoUringOp.PollAdd, IoUringOp.SendMsg,
        IoUringOp.RecvMsg, IoUringOp.Timeout, IoUringOp.Accept, IoUringOp.AsyncCancel, IoUringOp.LinkTimeout, IoUringOp.Connect,
        IoUringOp.Fallocate,
        IoUringOp.OpenAt, IoUringOp.Close, IoUringOp.FilesUpdate, IoUringOp.Statx, IoUringOp.Read, IoUringOp.Write, IoUringOp.Send,
        IoUringOp.Recv,
        IoUringOp.Splice, IoUringOp.Shutdown,
    ];

    /// <summary>The engine that the options ask for, or what stands in for it.</summary>
    /// <exception cref="KernelException">The kernel's ring was asked for and refused.</exception>
    internal static IRingEngine Create(RingOptions options) => options.Decorate(CreateBare(options));

    private static IRingEngine CreateBare(RingOptions options)
    {
        if (options.Engine == RingEngine.Threads) return new ThreadRingEngine(options);
        Errno errno = KernelRingEngine.TryCreate(options, out KernelRingEngine? engine);
        if (engine is not null) return Complete(engine, options);
        string reason = errno switch
        {
            Errno.NotPermitted => "kernel.io_uring_disabled or a seccomp filter forbids io_uring",
            Errno.NotImplemented or Errno.Invalid => "this kernel has no io_uring that is new enough",
            Errno.NoMemory => "there is too little locked memory for io_uring, raise RLIMIT_MEMLOCK",
            _ => $"io_uring_setup gave {errno}",
        };
        if (options.Engine == RingEngine.Kernel) throw new KernelException("cannot make a completion ring", errno, reason);
        options.OnFallBack($"{reason}: completions run on {options.Threads} threads");
        return new ThreadRingEngine(options);
    }

    /// <summary>Adds threads for the operations that the kernel's ring lacks.</summary>
    private static IRingEngine Complete(KernelRingEngine engine, RingOptions options)
    {
        IoUringOp[] lacking = [.. Operations.Where(operation =>
            !engine.Supports(operation) && (!options.OnlyTransfers || KernelRingEngine.IsTransfer(operation)))];
        if (lacking.Length == 0) return engine;
        string reason = $"the io_uring of this kernel lacks {string.Join(", ", lacking)}";
        if (options.Engine == RingEngine.Kernel)
        {
            engine.Wakeful.Dispose();
            engine.Dispose();
            throw new KernelException("cannot make a completion ring", Errno.NotImplemented, reason);
        }
        options.OnFallBack($"{reason}: these run on {options.Threads} threads");
        return new SplitRingEngine(engine, options);
    }
}

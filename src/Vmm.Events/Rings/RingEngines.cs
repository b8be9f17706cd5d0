namespace Vmm.Events.Rings;

/// <summary>Which engine a ring gets.</summary>
internal static class RingEngines
{
    /// <summary>The engine that the options ask for, or what stands in for it.</summary>
    /// <exception cref="KernelException">The kernel's ring was asked for and refused.</exception>
    internal static IRingEngine Create(RingOptions options) => options.Decorate(CreateBare(options));

    private static IRingEngine CreateBare(RingOptions options)
    {
        if (options.Engine == RingEngine.Threads) return new ThreadRingEngine(options);
        Errno errno = KernelRingEngine.TryCreate(options, out KernelRingEngine? engine);
        if (engine is not null) return engine;
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
}

using Vmm.Events;

namespace Vmm.Devices;

/// <summary>What an engine does about an error of the host.</summary>
internal enum BlockRemedy
{
    /// <summary>The guest gets an error.</summary>
    Fail,
    /// <summary>The same call is made again.</summary>
    Retry,
    /// <summary>Zeroes are written as any other bytes.</summary>
    WriteZeroes,
    /// <summary>As if it had been done.</summary>
    Accept,
}

/// <summary>One table of errors and operations for every engine.</summary>
internal static class BlockErrors
{
    /// <summary>
    /// Most calls in a row that storage may put off by EINTR or EAGAIN (file systems in user space do) before the guest gets an error: one
    /// that never ends would keep the engine at it.
    /// </summary>
    internal const int AttemptsMax = 100;

    /// <param name="kind">What was asked for.</param>
    /// <param name="error">What the host said.</param>
    /// <param name="attempts">Calls in a row that were put off; counted here.</param>
    internal static BlockRemedy Remedy(BlockOperationKind kind, Errno error, ref int attempts) => error switch
    {
        Errno.Interrupted or Errno.Again => ++attempts < AttemptsMax ? BlockRemedy.Retry : BlockRemedy.Fail,
        Errno.NotSupported when kind == BlockOperationKind.WriteZeroes => BlockRemedy.WriteZeroes,
        // A discard is an offer: what can't give blocks back does not take it, and nothing is lost.
        Errno.NotSupported when kind == BlockOperationKind.Discard => BlockRemedy.Accept,
        _ => BlockRemedy.Fail,
    };
}

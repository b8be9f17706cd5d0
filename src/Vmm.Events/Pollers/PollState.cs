namespace Vmm.Events;

/// <summary>What the kernel has of a slot's watch in an <see cref="IoUringPoller"/>.</summary>
internal enum PollState : byte
{
    /// <summary>Nothing: not armed yet, or fired and to be armed again.</summary>
    Idle,
    /// <summary>A poll request, in the submission ring or in the kernel.</summary>
    Armed,
    /// <summary>A poll request that was asked to end: when it did, the watch is armed anew with the interest it has then.</summary>
    Ending,
}

namespace Vmm.Devices.Kvm;

/// <summary>An edge-triggered interrupt by irqfd: each assert is an interrupt, one write of an eventfd and no ioctl. Thread-safe.</summary>
public sealed class KvmEdgeInterrupt : IInterrupt, IDisposable
{
    private readonly EventFd _call = new();

    /// <summary>Wires a new eventfd to an interrupt.</summary>
    /// <param name="vm">A VM with its interrupt controllers in the kernel.</param>
    /// <param name="gsi">A pin, or a message's number.</param>
    public KvmEdgeInterrupt(KvmVm vm, uint gsi)
    {
        ArgumentNullException.ThrowIfNull(vm);
        try
        {
            vm.AddInterruptEvent(gsi, _call);
        }
        catch
        {
            _call.Dispose();
            throw;
        }
    }

    /// <summary>The eventfd, for a transport that signals it itself or hands it to another process.</summary>
    public EventFd Call => _call;

    /// <inheritdoc/>
    public void Assert() => _call.Signal();

    /// <inheritdoc/>
    public void Deassert()
    {
    }

    /// <summary>Closes the eventfd, which ends the wire.</summary>
    public void Dispose() => _call.Dispose();
}

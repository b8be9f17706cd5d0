namespace Vmm.Devices.Kvm;

/// <summary>
/// A level-triggered interrupt by irqfd with resample: the kernel holds the line up until the guest ends the interrupt, then asks; as long
/// as the device asserts, the line is raised anew. Assert and deassert are thread-safe.
/// </summary>
public sealed class KvmLevelInterrupt : IInterrupt, IDisposable
{
    private readonly EventFd _call = new();
    private readonly IReactor _reactor;
    private readonly Subscription<EventFd> _resample;
    private volatile bool _asserted;

    /// <summary>Wires new eventfds to a line.</summary>
    /// <param name="vm">A VM with its interrupt controllers in the kernel.</param>
    /// <param name="gsi">A pin.</param>
    /// <param name="reactor">Handles the guest's ends of interrupts. Call on its thread, dispose there too.</param>
    public KvmLevelInterrupt(KvmVm vm, uint gsi, IReactor reactor)
    {
        ArgumentNullException.ThrowIfNull(vm);
        ArgumentNullException.ThrowIfNull(reactor);
        _reactor = reactor;
        EventFd resample = new();
        _resample = Interest.Kick.WithFd(resample).WithHandler(_ => Resample());
        try
        {
            vm.AddInterruptEvent(gsi, _call, resample);
            reactor.Add(_resample);
        }
        catch
        {
            _call.Dispose();
            resample.Dispose();
            throw;
        }
    }

    /// <summary>Times the guest ended the interrupt. On the reactor's thread.</summary>
    internal long Resamples { get; private set; }

    /// <inheritdoc/>
    public void Assert()
    {
        _asserted = true;
        _call.Signal();
    }

    /// <inheritdoc/>
    public void Deassert() => _asserted = false;

    /// <inheritdoc/>
    public void Dispose()
    {
        _call.Dispose();
        _reactor.Remove(_resample);
    }

    private void Resample()
    {
        Resamples++;
        if (_asserted) _call.Signal();
    }
}

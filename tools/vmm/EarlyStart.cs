using Vmm.Devices.Kvm;
using Vmm.Events;

namespace Vmm.Tool;

/// <summary>
/// What a boot needs whatever its options are, made on a thread of its own: the reactor of its devices, which that thread then runs, and a VM with its
/// interrupt controllers. A start is mostly compiling what it runs, and waiting for the kernel; with this, half of that is done while the command line is
/// read.
/// </summary>
internal sealed class EarlyStart : IDisposable
{
    private readonly CancellationTokenSource _stop = new();
    private readonly TaskCompletionSource<Reactor> _reactor = new();
    private readonly TaskCompletionSource<KvmVm> _vm = new();
    private readonly Thread _thread;
    private KvmSystem? _system;

    internal EarlyStart()
    {
        _thread = new Thread(MakeAndRun) { Name = "devices", IsBackground = true };
        _thread.Start();
    }

    /// <summary>The reactor, for use in what is posted to its remote endpoint.</summary>
    /// <exception cref="KernelException">The process has no descriptor left.</exception>
    internal Reactor Reactor => _reactor.Task.GetAwaiter().GetResult();

    /// <summary>The VM, for a machine with ACPI.</summary>
    /// <exception cref="KvmUnavailableException">There is no KVM, or none that can do this.</exception>
    internal KvmVm Vm => _vm.Task.GetAwaiter().GetResult();

    public void Dispose()
    {
        _stop.Cancel();
        _thread.Join();
        if (_reactor.Task.IsCompletedSuccessfully) Reactor.Dispose();
        if (_vm.Task.IsCompletedSuccessfully) Vm.Dispose();
        _system?.Dispose();
        _stop.Dispose();
    }

    private void MakeAndRun()
    {
        try
        {
            _reactor.SetResult(new Reactor(new ReactorOptions { Name = "devices" }));
        }
        catch (KernelException failure)
        {
            _reactor.SetException(failure);
            _vm.SetException(failure);
            return;
        }
        try
        {
            _system = KvmSystem.Open();
            KvmVm vm = _system.CreateVm();
            vm.CreateInterruptControllers(legacy: false);
            _vm.SetResult(vm);
        }
        catch (Exception failure) when (failure is KvmUnavailableException or KernelException)
        {
            _vm.SetException(failure);
        }
        Reactor.Run(_stop.Token);
    }
}

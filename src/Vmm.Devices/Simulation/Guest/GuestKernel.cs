namespace Vmm.Devices.Simulation;

/// <summary>
/// The guest software of a simulated machine: a small kernel that probes its devices as a real one does, drives them with all CPUs, and
/// gives a shell on the serial console. CPU 0 boots and runs the shell; the others do what it hands them.
/// </summary>
internal sealed class GuestKernel
{
    /// <summary>
    /// Wakes a CPU for a job, or for a request another CPU collected. Devices have the vectors from <see cref="FirstDeviceVector"/> on.
    /// </summary>
    private const int WakeVector = 0;

    internal const int FirstDeviceVector = 2;

    private const uint StatusSuccess = 0;
    private const uint StatusFailure = 1;

    private readonly BootInfo _boot;
    private readonly GuestConsole _console;
    private readonly KernelCpu?[] _cpus;
    private readonly Func<KernelCpu, ValueTask>?[] _handlers = new Func<KernelCpu, ValueTask>?[SimulatedInterrupts.VectorCount];
    private readonly List<GuestDriver> _drivers = [];
    private int _jobsLeft;

    internal GuestKernel(BootInfo boot, int cpuCount)
    {
        _boot = boot;
        _console = new GuestConsole(boot.ConsolePort, boot.Interactive, boot.Columns);
        _cpus = new KernelCpu?[cpuCount];
        Pages = new GuestPages(boot.MemoryBytes, cpuCount);
    }

    /// <summary>The devices that have a driver, in the order of the boot information.</summary>
    internal IReadOnlyList<GuestDriver> Drivers => _drivers;

    internal GuestConsole Console => _console;

    /// <summary>Whether commands that take long say on the console how far they are.</summary>
    internal bool ShowsProgress => _boot.ShowProgress;

    /// <summary>Who has which memory.</summary>
    internal GuestPages Pages { get; }

    internal int CpuCount => _cpus.Length;

    /// <summary>The program of every CPU.</summary>
    internal async ValueTask Run(GuestCpu cpu)
    {
        KernelCpu kernel = new(this, cpu);
        Volatile.Write(ref _cpus[cpu.Index], kernel);
        if (cpu.Index == 0) await Boot(kernel);
        else await DoJobs(kernel);
    }

    internal Func<KernelCpu, ValueTask>? HandlerOf(int vector) => _handlers[vector];

    /// <summary>Interrupts a CPU for nothing but to have it look.</summary>
    internal static void Wake(KernelCpu from, int cpu) => from.Cpu.SendInterrupt(cpu, WakeVector);

    /// <summary>Does what interrupts left to be done. On CPU 0.</summary>
    /// <returns>Whether there was anything.</returns>
    internal async ValueTask<bool> DoDeferredWork(KernelCpu kernel)
    {
        bool any = false;
        foreach (GuestDriver driver in _drivers)
        {
            if (!driver.HasWork) continue;
            any = true;
            await driver.Work(kernel);
        }
        return any;
    }

    /// <summary>Has every CPU do something, and waits until all are done. On CPU 0.</summary>
    internal async ValueTask RunOnAllCpus(KernelCpu kernel, Func<KernelCpu, ValueTask> job)
    {
        Volatile.Write(ref _jobsLeft, CpuCount);
        for (int i = 1; i < CpuCount; i++)
        {
            // A CPU that has not started yet finds its job when it does.
            while (Volatile.Read(ref _cpus[i]) is null) await kernel.Cpu.Pause();
            _cpus[i]!.GiveJob(job);
            Wake(kernel, i);
        }
        await job(kernel);
        Interlocked.Decrement(ref _jobsLeft);
        while (Volatile.Read(ref _jobsLeft) > 0) await kernel.WaitForInterrupt();
    }

    private async ValueTask DoJobs(KernelCpu kernel)
    {
        while (true)
        {
            if (kernel.TakeJob() is not { } job)
            {
                await kernel.WaitForInterrupt();
                continue;
            }
            await job(kernel);
            if (Interlocked.Decrement(ref _jobsLeft) == 0) Wake(kernel, 0);
        }
    }

    private async ValueTask Boot(KernelCpu kernel)
    {
        _handlers[_boot.ConsoleVector] = _console.OnInterrupt;
        await _console.Start(kernel.Cpu);
        bool allWell = await Probe(kernel);
        await kernel.Cpu.Out8(_boot.PhasePort, (byte)GuestPhase.Booted);
        GuestShell shell = new(this, kernel);
        allWell &= await shell.Run();
        await kernel.Cpu.Out8(_boot.PhasePort, (byte)GuestPhase.Finished);
        foreach (GuestDriver driver in _drivers) await driver.Stop(kernel);
        await PowerOff(kernel, allWell);
    }

    private async ValueTask<bool> Probe(KernelCpu kernel)
    {
        bool allWell = true;
        foreach (DeviceNode node in _boot.Devices)
        {
            GuestTransport transport = new(kernel.Cpu, node);
            GuestDriver? driver = await transport.Identify() ? GuestDriver.For(transport, _drivers) : null;
            if (driver is null) continue;
            _drivers.Add(driver);
            _handlers[node.Vector] = driver.OnInterrupt;
            if (await driver.Start(kernel) is not { } failure) continue;
            allWell = false;
            await _console.Print(kernel, $"error: {driver.Name}: {failure}\n");
        }
        return allWell;
    }

    private async ValueTask PowerOff(KernelCpu kernel, bool allWell)
    {
        await kernel.Cpu.Out32(_boot.PowerPort, allWell ? StatusSuccess : StatusFailure);
        while (true) await kernel.Cpu.Halt();
    }
}

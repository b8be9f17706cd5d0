namespace Vmm.Devices.Kvm;

/// <summary>What processors and interrupt controllers of a machine are at power-on, some kilobytes for each vCPU.</summary>
internal sealed class KvmPowerOn
{
    private const uint TimeStampAdjust = 0x3b;

    private readonly KvmBoard _board;
    private readonly KvmChips _chips;
    private readonly byte[] _state;
    private readonly KvmVcpuState[] _vcpus;

    /// <summary>Keeps what they are. Before the first instruction.</summary>
    internal KvmPowerOn(KvmBoard board, KvmChips chips, IReadOnlyList<KvmVcpu> vcpus)
    {
        (_board, _chips) = (board, chips);
        uint[] msrs = [.. board.System.GetMsrIndices()
            // They go on, or the clocks of processors would differ.
            .Where(index => index is not (KvmVcpu.TimeStampCounter or TimeStampAdjust))];
        _vcpus = [.. vcpus.Select(vcpu => vcpu.Save(msrs))];
        StateWriter state = new(MachineSnapshot.Version);
        board.Vm.SaveChips(state.AddRecord("chips"), legacy: !board.Options.Acpi);
        chips.Keyboard.Save(state.AddRecord("keyboard"));
        using MemoryStream text = new();
        state.WriteTo(text);
        _state = text.ToArray();
    }

    internal void RestoreChips()
    {
        _chips.Events.SetPressed(false);
        _chips.Events.ForgetChanges();
        StateReader state = StateReader.Parse(_state, "power-on", MachineSnapshot.Version);
        _board.Vm.RestoreChips(state.Record("chips"), legacy: !_board.Options.Acpi);
        _chips.Keyboard.Restore(state.Record("keyboard"));
    }

    /// <summary>Makes a processor what it was.</summary>
    /// <returns>Registers that KVM does not take.</returns>
    internal IReadOnlyList<uint> Restore(int index, KvmVcpu vcpu) => vcpu.Restore(_vcpus[index]);
}
